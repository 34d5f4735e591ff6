"""Batches into their tables: the rows that index them, and the sums that these add to.

Laws:
- either all rows of a batch are inserted or none, whatever becomes of the others beside it;
- a row that is there already is inserted no second time; the same key with other content is a
  conflict, which changes nothing;
- several batches that are new in all their rows cost as many statements as one. Only where some row
  was not new are they taken one by one, and rows read back.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Table, func, select, update

from fleet_server.storage import records
from fleet_server.storage.received import Accepted, Outcome, Stored, as_outcome
from fleet_server.storage.records import Row, Rows
from fleet_server.storage.tables import (
    batches,
    deployments,
    manoeuvres,
    pictures,
    samples,
    tallies,
)
from fleet_server.storage.upsert import insert_one, insert_rows
from shared.errors import RefusedError


class ConflictError(RefusedError):
    """A key that is stored already came again with other content."""


class _NotAllNewError(Exception):
    """Some row of several batches was there already."""


def insert_batches(
    connection: Connection, fresh: Sequence[Accepted], *, external: bool
) -> Sequence[Outcome]:
    """Insert batches that are not stored yet; return what became of each, in their order.

    `external` says that their bytes are in the object store already.
    """
    if not fresh:
        return []
    try:
        with connection.begin_nested():
            return _insert_together(connection, fresh, external=external)
    except _NotAllNewError:
        return [_insert_alone(connection, each, external=external) for each in fresh]


def _insert_together(
    connection: Connection, fresh: Sequence[Accepted], *, external: bool
) -> list[Outcome]:
    numbers = [_add_batch(connection, each, external=external) for each in fresh]
    first_id = _next_id(connection)
    for table in _TABLES:
        rows = [
            row
            for each, number in zip(fresh, numbers, strict=True)
            for row in records.numbered(_rows_of(each.rows, table), number)
        ]
        if insert_rows(connection, table, _COLUMNS[table.name], rows) < len(rows):
            raise _NotAllNewError
    tallied: list[Row] = []
    for each in fresh:
        tallied += records.counted_from(each.rows.tallies, first_id)
        first_id += len(each.rows.samples)
    filed = Counter[str]()
    for each in fresh:
        filed.update(each.rows.deployments)
    _count(connection, tallied, filed)
    return [
        Stored(
            samples=len(each.batch.samples),
            manoeuvres=len(each.batch.manoeuvres),
            pictures=len(each.batch.pictures),
        )
        for each in fresh
    ]


def _insert_alone(connection: Connection, accepted: Accepted, *, external: bool) -> Outcome:
    try:
        with connection.begin_nested():
            number = _add_batch(connection, accepted, external=external)
            first_id = _next_id(connection)
            new = [
                _add(connection, table, records.numbered(_rows_of(accepted.rows, table), number))
                for table in _TABLES
            ]
            stored = Stored(samples=len(new[0]), manoeuvres=len(new[1]), pictures=len(new[2]))
            if stored.is_duplicate:
                connection.execute(batches.delete().where(batches.c.id == number))
            found = [accepted.batch.samples[place] for place in new[0]]
            tallied = records.counted_from(records.tally(found), first_id)
            _count(connection, tallied, Counter([each.deployment for each in found]))
            return stored
    except ConflictError as error:
        return as_outcome(error)


_TABLES = (samples, manoeuvres, pictures)
_COLUMNS = {
    samples.name: records.SAMPLE_COLUMNS,
    manoeuvres.name: records.END_COLUMNS,
    pictures.name: records.PICTURE_COLUMNS,
}


def _rows_of(rows: Rows, table: Table) -> list[Row]:
    if table is samples:
        return rows.samples
    return rows.ends if table is manoeuvres else rows.pictures


_BATCH_COLUMNS = (
    *("device", "sha256", "received_utc_us", "samples", "manoeuvres", "pictures"),
    *("size_bytes", "body", "external"),
)


def _add_batch(connection: Connection, accepted: Accepted, *, external: bool) -> int:
    batch, received = accepted.batch, accepted.received
    row = (
        *(received.device, received.sha256, received.utc_us),
        *(len(batch.samples), len(batch.manoeuvres), len(batch.pictures)),
        *(len(received.body), b"" if external else received.body, external),
    )
    return insert_one(connection, batches, _BATCH_COLUMNS, row)


def _next_id(connection: Connection) -> int:
    """Return a row id that no sample stored from here on is below."""
    return (connection.scalar(select(func.max(samples.c.id))) or 0) + 1


def _add(connection: Connection, table: Table, rows: list[Row]) -> list[int]:
    """Insert the rows that are new; return their places in `rows`.

    Raises:
        ConflictError: one has the key of a stored row but other content.
    """
    if insert_rows(connection, table, _COLUMNS[table.name], rows) == len(rows):
        return list(range(len(rows)))
    number, content = _COLUMNS[table.name][2:4]
    stored: dict[tuple[str, int], tuple[str, int]] = {}
    for boot in {row[1] for row in rows}:
        query = select(table.c.boot, table.c[number], table.c[content], table.c.batch).where(
            table.c.device == rows[0][0],
            table.c.boot == boot,
            table.c[number].in_([row[2] for row in rows if row[1] == boot]),
        )
        stored |= {(each[0], each[1]): (each[2], each[3]) for each in connection.execute(query)}
    new: dict[tuple[str, int], int] = {}
    for place, row in enumerate(rows):
        held, batch = stored[row[1], row[2]]
        if held != row[3]:
            raise ConflictError(
                f"conflict: {table.name} {row[1]}/{row[2]} is stored with other content"
            )
        if batch == row[-1]:
            new.setdefault((row[1], row[2]), place)
    return list(new.values())


def _count(connection: Connection, tallied: list[Row], filed: Mapping[str, int]) -> None:
    for name, pairs in filed.items():
        values = {"pairs_stored": deployments.c.pairs_stored + pairs}
        connection.execute(update(deployments).where(deployments.c.name == name).values(values))
    insert_rows(
        connection,
        tallies,
        records.TALLY_COLUMNS,
        tallied,
        key=records.TALLY_KEY,
        sums=records.TALLY_SUMS,
    )
