"""Storing what cars send: the bytes of batches and the rows that index them, as one change.

Laws:
- either everything of a batch is stored or nothing, whatever becomes of the others beside it;
- what is there already is stored no second time; the same key with other content is a conflict,
  an erased key is refused, and both change nothing;
- several batches that are new in all their rows cost as many statements as one. Only where some row
  was not new are they taken one by one, and rows read back;
- whatever can be made ready is (`accept`) before the transaction begins: others wait while it runs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, bindparam, func, select, update

from fleet_server.storage import records, tombs
from fleet_server.storage.erasure_tables import doomed
from fleet_server.storage.records import Row, Rows
from fleet_server.storage.tables import (
    batches,
    deployments,
    devices,
    manoeuvres,
    pictures,
    samples,
    tallies,
)
from fleet_server.storage.upsert import insert_one, insert_rows
from shared.errors import RefusedError, RetryLaterError
from shared.messages import Batch


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message as it came: its bytes, their SHA-256, who sent it, when (UTC microseconds)."""

    device: str
    topic: str
    body: bytes
    sha256: str
    utc_us: int


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A batch that may be stored, the message that held it, and the rows that index it."""

    batch: Batch
    received: Received
    rows: Rows


def accept(batch: Batch, received: Received) -> Accepted:
    """Return `batch` ready to be stored."""
    rows = records.of_batch(batch, received.body, received.utc_us)
    return Accepted(batch=batch, received=received, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How much of a batch was new."""

    samples: int
    manoeuvres: int
    pictures: int

    @property
    def is_duplicate(self) -> bool:
        """Whether nothing was new."""
        return not (self.samples or self.manoeuvres or self.pictures)


NOTHING_NEW = Stored(samples=0, manoeuvres=0, pictures=0)

Outcome = Stored | RefusedError


def as_outcome(error: RefusedError) -> RefusedError:
    """Return `error` without the frames that it came through, to be kept as a value.

    They hold the message, and the outcomes with the error itself: such a ring is let go only when
    the garbage collector comes round, after hundreds of messages.
    """
    error.__traceback__ = error.__context__ = None
    return error


class ConflictError(RefusedError):
    """A key that is stored already came again with other content."""


class _NotAllNewError(Exception):
    """Some row of several batches was there already."""


def store(
    connection: Connection, accepted: Sequence[Accepted], *, external: bool = False
) -> list[Outcome]:
    """Store batches in the open transaction; return what became of each, in their order.

    `external` says that their bytes are in the object store already. A batch that comes twice is
    a duplicate the second time.

    Raises:
        RetryLaterError: an object is about to be deleted; roll the transaction back.
    """
    if not accepted:
        return []
    known = _known(connection, accepted)
    erased = tombs.devices_with(connection, {each.received.device for each in accepted})
    found: dict[str, Outcome] = {}
    fresh: dict[str, Accepted] = {}
    for each in accepted:
        digest = each.received.sha256
        if digest in known:
            found[digest] = NOTHING_NEW
        elif each.received.device in erased and tombs.hold(connection, each.batch):
            found[digest] = tombs.ErasedError()
        else:
            fresh[digest] = each
    if external:
        _check_doomed(connection, fresh)
    found |= zip(fresh, _store(connection, list(fresh.values()), external=external), strict=True)
    _see(connection, accepted, found)
    first = {each.received.sha256: place for place, each in reversed(list(enumerate(accepted)))}
    return [
        _again(found[each.received.sha256], is_first=first[each.received.sha256] == place)
        for place, each in enumerate(accepted)
    ]


def _again(outcome: Outcome, *, is_first: bool) -> Outcome:
    return NOTHING_NEW if isinstance(outcome, Stored) and not is_first else outcome


_KNOWN = select(batches.c.sha256).where(batches.c.sha256.in_(bindparam("digests", expanding=True)))


def _known(connection: Connection, accepted: Sequence[Accepted]) -> set[str]:
    digests = list({each.received.sha256 for each in accepted})
    return set(connection.scalars(_KNOWN, {"digests": digests}))


def _check_doomed(connection: Connection, digests: Iterable[str]) -> None:
    if connection.scalar(select(doomed.c.sha256).where(doomed.c.sha256.in_(list(digests)))):
        raise RetryLaterError("objects: one with these bytes is about to be deleted")


def _store(
    connection: Connection, fresh: Sequence[Accepted], *, external: bool
) -> Sequence[Outcome]:
    if not fresh:
        return []
    try:
        with connection.begin_nested():
            return _store_together(connection, fresh, external=external)
    except _NotAllNewError:
        return [_store_one(connection, each, external=external) for each in fresh]


def _store_together(
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
        if _insert(connection, table, rows) < len(rows):
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


def _store_one(connection: Connection, accepted: Accepted, *, external: bool) -> Outcome:
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


def _insert(connection: Connection, table: Table, rows: list[Row]) -> int:
    return insert_rows(connection, table, _COLUMNS[table.name], rows) if rows else 0


def _add(connection: Connection, table: Table, rows: list[Row]) -> list[int]:
    """Insert the rows that are new; return their places in `rows`.

    Raises:
        ConflictError: one has the key of a stored row but other content.
    """
    if _insert(connection, table, rows) == len(rows):
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
    if tallied:
        insert_rows(
            connection,
            tallies,
            records.TALLY_COLUMNS,
            tallied,
            key=records.TALLY_KEY,
            sums=records.TALLY_SUMS,
        )


_SEE = (
    update(devices)
    .where(devices.c.name == bindparam("car"))
    .values(
        pairs_stored=devices.c.pairs_stored + bindparam("pairs"),
        pictures_stored=devices.c.pictures_stored + bindparam("jpegs"),
        last_seen_utc_us=bindparam("now_us"),
    )
)


def _see(connection: Connection, accepted: Sequence[Accepted], found: dict[str, Outcome]) -> None:
    """Note at each car how much came from it, and when."""
    cars: dict[str, dict[str, str | int]] = {}
    counted: set[str] = set()
    for each in accepted:
        outcome, received = found[each.received.sha256], each.received
        car = cars.setdefault(received.device, {"car": received.device, "pairs": 0, "jpegs": 0})
        car["now_us"] = received.utc_us
        if isinstance(outcome, Stored) and received.sha256 not in counted:
            counted.add(received.sha256)
            car["pairs"] = int(car["pairs"]) + outcome.samples
            car["jpegs"] = int(car["jpegs"]) + outcome.pictures
    if cars:
        connection.execute(_SEE, list(cars.values()))
