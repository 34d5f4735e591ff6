"""One stored batch, looked through by an erasure: what goes, what is left, and the change to it.

Laws:
- a record is judged by itself, the same way whenever and in whichever batch it is met: what has a
  tombstone goes, a stored sample by its record, a picture by its sample;
- what is left of a batch are the records that its rows index: one that also came in another batch
  stands there. So no two batches are left with the same bytes;
- a batch nothing is left of is deleted; any other is written anew under the digest of what is left,
  unsigned, since the car signed more than that.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, and_, select
from sqlalchemy.sql import ColumnElement

from fleet_server.storage import tombs
from fleet_server.storage.tables import batches, manoeuvres, pictures, samples
from fleet_server.storage.tombs import Key
from shared import codec
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.samples import ManoeuvreEnd, Sample
from shared.signing import Envelope
from shared.topics import BATCH

_samples = msgspec.msgpack.Decoder(Sample)
_envelopes = msgspec.msgpack.Decoder(Envelope)


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of time: since <= time < until (UTC microseconds), open where it is None."""

    since_utc_us: int | None
    until_utc_us: int | None

    def holds(self, begin_utc_us: int, end_utc_us: int | None = None) -> bool:
        """Tell whether the moment, or any of what lies between the two, falls into the stretch."""
        after = self.since_utc_us is None or (end_utc_us or begin_utc_us) >= self.since_utc_us
        return after and (self.until_utc_us is None or begin_utc_us < self.until_utc_us)


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """What an erasure does to one batch.

    `pairs` and `ends` are the keys that go; `left` is what the batch holds after it, None where
    nothing; `body` are its bytes.
    """

    number: int
    device: str
    pairs: frozenset[Key]
    ends: frozenset[Key]
    left: Batch | None
    body: bytes

    @property
    def sha256(self) -> str:
        """The digest of what is left."""
        return sha256_hex(self.body)


def opened(row: Row[Any], body: bytes) -> Batch:
    """Return what a stored batch holds; `row` is of `batches`, `body` its bytes.

    Raises:
        RefusedError: the bytes are no batch: the store is damaged.
    """
    payload = body
    if row.rewritten_by is None:
        try:
            payload = _envelopes.decode(body).payload
        except msgspec.MsgspecError as error:
            raise RefusedError(f"batch {row.id}: {error}") from None
    return codec.decode(Batch, payload, limit_bytes=BATCH.limit_bytes)


def judge(connection: Connection, row: Row[Any], batch: Batch, span: Span) -> Rewriting | None:
    """Return what becomes of a batch, or None where nothing of it goes."""
    stored = _rows(connection, samples, batch.device, _pair_keys(batch))
    ends = {(each.boot, each.manoeuvre): each for each in batch.manoeuvres}
    gone = tombs.among(connection, batch.device, "sample", _pair_keys(batch))
    for key in _pair_keys(batch) - gone:
        if _pair_falls(stored.get(key), row, span):
            gone.add(key)
    gone_ends = tombs.among(connection, batch.device, "manoeuvre", set(ends))
    gone_ends |= {key for key, end in ends.items() if _end_falls(end, row, span)}
    if not gone and not gone_ends:
        return None
    left = _left(connection, row, batch, gone, gone_ends)
    is_empty = not (left.samples or left.manoeuvres or left.pictures)
    return Rewriting(
        number=row.id,
        device=batch.device,
        pairs=frozenset(gone),
        ends=frozenset(gone_ends),
        left=None if is_empty else left,
        body=b"" if is_empty else codec.encode(left),
    )


def _pair_keys(batch: Batch) -> set[Key]:
    keys = {(each.boot, each.sequence) for each in batch.samples}
    return keys | {(each.boot, each.sequence) for each in batch.pictures}


def _pair_falls(sample: Row[Any] | None, row: Row[Any], span: Span) -> bool:
    if sample is None:  # A picture whose sample never came.
        return span.holds(row.received_utc_us)
    record = _samples.decode(sample.body)
    return span.holds(record.utc_us if record.clock_synced else sample.received_utc_us)


def _end_falls(end: ManoeuvreEnd, row: Row[Any], span: Span) -> bool:
    if not end.clock_synced:
        return span.holds(row.received_utc_us)
    return span.holds(end.started_utc_us, end.ended_utc_us)


def _left(
    connection: Connection, row: Row[Any], batch: Batch, gone: set[Key], gone_ends: set[Key]
) -> Batch:
    def staying(table: Table, keys: set[Key]) -> set[Key]:
        stored = _rows(connection, table, batch.device, keys)
        return {key for key, found in stored.items() if found.batch == row.id}

    of_samples = staying(samples, _pair_keys(batch) - gone)
    of_pictures = staying(pictures, _pair_keys(batch) - gone)
    of_ends = staying(manoeuvres, {(e.boot, e.manoeuvre) for e in batch.manoeuvres} - gone_ends)
    return Batch(
        device=batch.device,
        samples=tuple(e for e in batch.samples if (e.boot, e.sequence) in of_samples),
        manoeuvres=tuple(e for e in batch.manoeuvres if (e.boot, e.manoeuvre) in of_ends),
        pictures=tuple(e for e in batch.pictures if (e.boot, e.sequence) in of_pictures),
    )


def _rows(connection: Connection, table: Table, device: str, keys: set[Key]) -> dict[Key, Row[Any]]:
    number = table.c.manoeuvre if table is manoeuvres else table.c.sequence
    found: dict[Key, Row[Any]] = {}
    for where in of_keys(table, device, keys):
        for row in connection.execute(select(table).where(where)):
            found[row.boot, getattr(row, number.name)] = row
    return found


_AT_ONCE = 400


def of_keys(table: Table, device: str, keys: Collection[Key]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that together pick the rows of `table` with these keys, some at a time."""
    number = table.c.manoeuvre if table is manoeuvres else table.c.sequence
    for boot in sorted({boot for boot, _ in keys}):
        numbers = sorted(each for other, each in keys if other == boot)
        for at in range(0, len(numbers), _AT_ONCE):
            yield and_(
                table.c.device == device,
                table.c.boot == boot,
                number.in_(numbers[at : at + _AT_ONCE]),
            )


def next_batches(
    connection: Connection, *, device: str | None, after: int, last: int, limit: int
) -> Sequence[Row[Any]]:
    """Return the batches that follow the row id `after`, up to `last`, without their bytes."""
    columns = [column for column in batches.c if column.name != "body"]
    query = select(*columns).where(batches.c.id > after, batches.c.id <= last)
    if device is not None:
        query = query.where(batches.c.device == device)
    return connection.execute(query.order_by(batches.c.id).limit(limit)).all()
