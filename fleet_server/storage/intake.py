"""Storing what cars send: a batch's bytes and the rows that index them, as one change.

Laws:
- either everything of a batch is stored or nothing;
- what is there already is stored no second time; the same key with other content is a conflict and
  changes nothing;
- a statement runs once a batch, not once a row; rows are read back only where some were not new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, func, select, update

from fleet_server.storage.tables import (
    batches,
    devices,
    manoeuvres,
    pictures,
    quarantine,
    samples,
    tallies,
)
from fleet_server.storage.upsert import insert
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.samples import ManoeuvreEnd, Picture, Sample

_encode = msgspec.msgpack.Encoder(order="sorted").encode

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message as it came: its bytes, their SHA-256, who sent it, when (UTC microseconds)."""

    device: str
    topic: str
    body: bytes
    sha256: str
    utc_us: int


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


class ConflictError(RefusedError):
    """A key that is stored already came again with other content."""


def store(connection: Connection, batch: Batch, received: Received) -> Stored:
    """Store `batch`, which `received` holds, in the open transaction; return what was new.

    Raises:
        ConflictError: a record of it is stored with other content; roll the transaction back.
    """
    number = _add_batch(connection, batch, received)
    if number is None:
        return NOTHING_NEW
    first_id = (connection.scalar(select(func.max(samples.c.id))) or 0) + 1
    new_samples = _add(
        connection, samples, [_sample_row(each, number, received) for each in batch.samples]
    )
    new_ends = _add(
        connection, manoeuvres, [_end_row(each, number, received) for each in batch.manoeuvres]
    )
    new_pictures = _add(connection, pictures, _picture_rows(batch.pictures, number, received.body))
    added = Stored(samples=len(new_samples), manoeuvres=len(new_ends), pictures=len(new_pictures))
    if added.is_duplicate:
        connection.execute(batches.delete().where(batches.c.id == number))
    else:
        _count(connection, [batch.samples[i] for i in new_samples], first_id)
    connection.execute(
        update(devices)
        .where(devices.c.name == received.device)
        .values(
            pairs_stored=devices.c.pairs_stored + added.samples,
            pictures_stored=devices.c.pictures_stored + added.pictures,
            last_seen_utc_us=received.utc_us,
        )
    )
    return added


def put_aside(connection: Connection, received: Received, reason: str, *, limit_bytes: int) -> None:
    """Keep a refused message, at most `limit_bytes` of it, with the reason; repeats are counted."""
    statement = insert(connection, quarantine).values(
        device=received.device,
        topic=received.topic,
        sha256=received.sha256,
        reason=reason,
        received_utc_us=received.utc_us,
        size_bytes=len(received.body),
        body=received.body[:limit_bytes],
    )
    again = {"repeats": quarantine.c.repeats + 1}
    connection.execute(statement.on_conflict_do_update(index_elements=["sha256"], set_=again))


def _add_batch(connection: Connection, batch: Batch, received: Received) -> int | None:
    """Store a batch's bytes; return the new row's id, or None where they are stored already."""
    statement = insert(connection, batches).values(
        device=received.device,
        sha256=received.sha256,
        received_utc_us=received.utc_us,
        samples=len(batch.samples),
        manoeuvres=len(batch.manoeuvres),
        pictures=len(batch.pictures),
        size_bytes=len(received.body),
        body=received.body,
    )
    number: int | None = connection.scalar(
        statement.on_conflict_do_nothing(index_elements=["sha256"]).returning(batches.c.id)
    )
    return number


def _sample_row(sample: Sample, batch: int, received: Received) -> Values:
    body = _encode(sample)
    return {
        "device": sample.device,
        "boot": sample.boot,
        "sequence": sample.sequence,
        "manoeuvre": sample.manoeuvre,
        "deployment": sample.deployment,
        "label": sample.label,
        "picture_sha256": sample.picture_sha256,
        "batch": batch,
        "received_utc_us": received.utc_us,
        # The same canonical form as shared.samples.content_hash, encoded once instead of twice.
        "content_hash": sha256_hex(body),
        "body": body,
    }


def _end_row(end: ManoeuvreEnd, batch: int, received: Received) -> Values:
    body = _encode(end)
    return {
        "device": end.device,
        "boot": end.boot,
        "manoeuvre": end.manoeuvre,
        "deployment": end.deployment,
        "batch": batch,
        "received_utc_us": received.utc_us,
        "pairs": end.pairs,
        "content_hash": sha256_hex(body),
        "body": body,
    }


def _picture_rows(found: Sequence[Picture], batch: int, body: bytes) -> list[Values]:
    """Return where each JPEG lies in the received bytes; msgpack holds them verbatim, in order."""
    rows, at = [], 0
    for picture in found:
        at = body.index(picture.jpeg, at)
        rows.append(
            {
                "device": picture.device,
                "boot": picture.boot,
                "sequence": picture.sequence,
                "sha256": picture.sha256,
                "batch": batch,
                "offset": at,
                "size_bytes": len(picture.jpeg),
            }
        )
    return rows


_KEYS = {samples.name: "sequence", manoeuvres.name: "manoeuvre", pictures.name: "sequence"}
_CONTENT = {samples.name: "content_hash", manoeuvres.name: "content_hash", pictures.name: "sha256"}


def _add(connection: Connection, table: Table, rows: list[Values]) -> list[int]:
    """Insert the rows that are new; return their places in `rows`.

    Raises:
        ConflictError: one has the key of a stored row but other content.
    """
    if not rows:
        return []
    added = connection.execute(
        insert(connection, table).on_conflict_do_nothing(),
        rows,
        execution_options={"preserve_rowcount": True},
    ).rowcount
    if added == len(rows):
        return list(range(len(rows)))
    return _sort_out(connection, table, rows)


def _sort_out(connection: Connection, table: Table, rows: list[Values]) -> list[int]:
    number, content = _KEYS[table.name], _CONTENT[table.name]
    stored: dict[tuple[str, int], tuple[str, int]] = {}
    for boot in {row["boot"] for row in rows}:
        query = select(table.c.boot, table.c[number], table.c[content], table.c.batch).where(
            table.c.device == rows[0]["device"],
            table.c.boot == boot,
            table.c[number].in_([row[number] for row in rows if row["boot"] == boot]),
        )
        stored |= {(each[0], each[1]): (each[2], each[3]) for each in connection.execute(query)}
    new: dict[tuple[str, int], int] = {}
    for place, row in enumerate(rows):
        key = (row["boot"], row[number])
        held, batch = stored[key]
        if held != row[content]:
            raise ConflictError(
                f"conflict: {table.name} {row['boot']}/{row[number]} is stored with other content"
            )
        if batch == row["batch"]:
            new.setdefault(key, place)
    return list(new.values())


_SUMS = ("samples", "led", "labelled", "label_sum", "error_sum")


def tally(found: Sequence[Sample], since_sample: int) -> list[Values]:
    """Return the rows that `found` adds to the table `tallies`."""
    sums: dict[tuple[str, str, int, str], Values] = {}
    for sample in found:
        _add_to(sums, sample, "", since_sample, error=0.0, leads=False)
        for place, estimate in enumerate(sample.estimates):
            error = 0.0 if sample.label is None else abs(estimate.value - sample.label)
            _add_to(sums, sample, estimate.model, since_sample, error=error, leads=place == 0)
    return list(sums.values())


def _add_to(
    sums: dict[tuple[str, str, int, str], Values],
    sample: Sample,
    model: str,
    since_sample: int,
    *,
    error: float,
    leads: bool,
) -> None:
    key = (sample.device, sample.boot, sample.manoeuvre, model)
    row = sums.setdefault(
        key,
        {
            **dict(zip(("device", "boot", "manoeuvre", "model"), key, strict=True)),
            **dict.fromkeys(_SUMS, 0),
            "since_sample": since_sample,
        },
    )
    row["samples"] += 1
    row["led"] += leads
    row["labelled"] += sample.label is not None
    row["label_sum"] += sample.label or 0.0
    row["error_sum"] += error


def _count(connection: Connection, new: Sequence[Sample], since_sample: int) -> None:
    rows = tally(new, since_sample)
    if not rows:
        return
    statement = insert(connection, tallies)
    raised = {name: tallies.c[name] + statement.excluded[name] for name in _SUMS}
    key = ["device", "boot", "manoeuvre", "model"]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=raised), rows)
