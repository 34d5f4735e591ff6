"""The journal: the durable interface between drive, which logs pairs, and agent, which sends them.

Laws:
- one call is one transaction: after a SIGKILL at any instant it happened as a whole or not at all,
  and what happened is on the disk (WAL, synchronous=FULL);
- (boot, sequence) is used once: the same sample again changes nothing, another one is refused;
- a row leaves the queue only by `mark`, which is called on the server's receipt, and only once;
- one unreadable row never holds up the others: it is put aside as rejected;
- what is counted is counted in the transaction that it counts;
- the slot that is active changes in one transaction with the one that no longer is.

Both processes write; each waits up to five seconds for the other. A journal belongs to the thread
that opened it. Failures of disk and lock raise `RetryLaterError`, a damaged file `RefusedError`.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from sqlite_utils import Database

from device.journal_file import open_database, transaction, translated
from shared.errors import RefusedError
from shared.ids import BootId, SampleKey, Sha256, boot_id
from shared.messages import Desired
from shared.samples import Count, ManoeuvreEnd, Picture, Reason, Record, Sample, content_hash

logger = logging.getLogger(__name__)

_OUTCOMES: dict[str, int] = {"sent": 1, "rejected": 2}

T = TypeVar("T")

_samples = msgspec.msgpack.Decoder(Sample)
_manoeuvres = msgspec.msgpack.Decoder(ManoeuvreEnd)
_desired = msgspec.msgpack.Decoder(Desired)


class SlotRow(Record, frozen=True):
    """One of the two model slots."""

    name: Literal["a", "b"]
    sha256: Sha256 | None
    release_seq: Count
    state: Literal["empty", "active", "standby", "refused"]


class DriveState(Record, frozen=True):
    """What drive has in memory and is doing, as of `utc_us`."""

    boot: BootId
    loaded: Sha256 | None
    release_seq: Count
    state: Reason
    utc_us: Count


class JournalCounts(Record, frozen=True):
    """How many pairs there ever were and what became of them; `queue_depth` still wait."""

    pairs_logged: Count
    pairs_sent: Count
    pairs_rejected: Count
    pairs_dropped: Count
    queue_depth: Count


class Journal:
    """One open connection to a car's journal."""

    def __init__(self, db: Database) -> None:
        """Take an open, migrated database; use `Journal.open`."""
        self._db = db

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Return the journal at `path`, created or migrated where needed.

        Raises:
            UsageError: there is no such folder, or the file is no journal or a newer version's.
            RetryLaterError: the disk or the other process is in the way.
        """
        return cls(open_database(path))

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        self._db.close()

    def start_boot(self, entropy: bytes) -> str:
        """Return a new boot id from the persisted counter and four random bytes of `entropy`."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO meta VALUES ('boot_counter', 1)"
                " ON CONFLICT (key) DO UPDATE SET value = value + 1"
            )
            counter = self._one("SELECT value FROM meta WHERE key = 'boot_counter'")
            return boot_id(int(counter), entropy)

    def append(
        self,
        *,
        samples: Sequence[tuple[Sample, bytes | None]],
        manoeuvres: Sequence[ManoeuvreEnd] = (),
    ) -> None:
        """Store samples, each with its JPEG or None, and ends of manoeuvres; all or nothing.

        What is stored already is passed over.

        Raises:
            RefusedError: a key is in use for another content.
            RetryLaterError: the disk is full or fails.
        """
        with self._transaction():
            fresh = [
                (sample, jpeg)
                for sample, jpeg in samples
                if self._is_new("samples", "sequence", sample.boot, sample.sequence, sample)
            ]
            self._insert("samples", [_sample_row(sample) for sample, _ in fresh])
            self._insert("pictures", [_picture_row(s, jpeg) for s, jpeg in fresh if jpeg])
            self._insert(
                "manoeuvres",
                [
                    _manoeuvre_row(end)
                    for end in manoeuvres
                    if self._is_new("manoeuvres", "manoeuvre", end.boot, end.manoeuvre, end)
                ],
            )
            self._count("pairs_logged", len(fresh))

    def count_dropped(self, reason: str, pairs: int) -> None:
        """Add `pairs` to those that were lost before they could be stored, under `reason`."""
        with self._transaction():
            self._count(f"dropped_{reason}", pairs)

    def unsent_samples(self, limit: int) -> list[Sample]:
        """Return at most `limit` waiting samples, oldest first."""
        return self._unsent("samples", "sequence", _samples, limit)

    def unsent_manoeuvres(self, limit: int) -> list[ManoeuvreEnd]:
        """Return at most `limit` waiting ends of manoeuvres, oldest first."""
        return self._unsent("manoeuvres", "manoeuvre", _manoeuvres, limit)

    def unsent_pictures(self, limit: int) -> list[Picture]:
        """Return at most `limit` waiting pictures, oldest first."""
        columns = "device, boot, sequence, sha256, jpeg"
        return [
            Picture(device=device, boot=boot, sequence=sequence, sha256=sha256, jpeg=jpeg)
            for device, boot, sequence, sha256, jpeg in self._waiting(
                "pictures", columns, "sequence", limit
            )
        ]

    def mark(
        self,
        *,
        samples: Sequence[SampleKey] = (),
        manoeuvres: Sequence[tuple[str, int]] = (),
        pictures: Sequence[SampleKey] = (),
        outcome: Literal["sent", "rejected"],
        reason: str = "",
    ) -> None:
        """Take rows out of the queue on the server's word; those already out stay as they are.

        Manoeuvres are named by (boot, manoeuvre).
        """
        keys = [(key.boot, key.sequence) for key in samples]
        with self._transaction():
            marked = self._mark("samples", "sequence", keys, outcome, reason)
            self._count(f"pairs_{outcome}", marked)
            self._mark("manoeuvres", "manoeuvre", manoeuvres, outcome, reason)
            keys = [(key.boot, key.sequence) for key in pictures]
            self._mark("pictures", "sequence", keys, outcome, reason)

    def counts(self) -> JournalCounts:
        """Return what became of the pairs, all figures of the same instant."""
        with self._snapshot():
            rows = dict(self._db.execute("SELECT name, value FROM counters").fetchall())
            waiting = self._one("SELECT count(*) FROM samples WHERE sent = 0")
        dropped = sum(value for name, value in rows.items() if name.startswith("dropped_"))
        return JournalCounts(
            pairs_logged=rows.get("pairs_logged", 0),
            pairs_sent=rows.get("pairs_sent", 0),
            pairs_rejected=rows.get("pairs_rejected", 0),
            pairs_dropped=dropped,
            queue_depth=waiting,
        )

    def desired(self) -> Desired | None:
        """Return what the server last wanted, or None before it ever spoke.

        None as well where that cannot be read, as after a step back to older software: the server
        says it again on the next connection.
        """
        body = self._body("desired")
        try:
            return None if body is None else _decode(_desired, body)
        except RefusedError as error:
            logger.warning("desired_unreadable reason=%s", error)
            return None

    def set_desired(self, desired: Desired) -> None:
        """Put `desired` in force."""
        self._set_body("desired", msgspec.msgpack.encode(desired))

    def update_state(self) -> bytes | None:
        """Return the saved state of the model update, or None."""
        return self._body("update")

    def set_update_state(self, body: bytes) -> None:
        """Save the state of the model update."""
        self._set_body("update", body)

    def slots(self) -> tuple[SlotRow, ...]:
        """Return slots a and b."""
        with self._snapshot():
            rows = self._db.execute("SELECT name, sha256, release_seq, state FROM slots").fetchall()
        return tuple(
            SlotRow(name=name, sha256=sha256, release_seq=release_seq, state=state)
            for name, sha256, release_seq, state in sorted(rows)
        )

    def commit_slot(self, sha256: str, release_seq: int) -> None:
        """Make the model `sha256` the active one; the one that was active becomes standby.

        A model that lies in a slot already is only pointed at; another takes the slot that is not
        active.
        """
        slots = "UPDATE slots SET"
        with self._transaction():
            held = self._one("SELECT name FROM slots WHERE sha256 = ?", sha256)
            spare = self._one("SELECT min(name) FROM slots WHERE state <> 'active'")
            chosen = held or spare
            self._db.execute(f"{slots} state = 'standby' WHERE state = 'active'")
            self._db.execute(
                f"{slots} sha256 = ?, release_seq = ?, state = 'active' WHERE name = ?",
                (sha256, release_seq, chosen),
            )

    def active_model(self) -> str | None:
        """Return the digest of the model that drive should have loaded, or None."""
        with self._snapshot():
            found = self._one("SELECT sha256 FROM slots WHERE state = 'active'")
        return None if found is None else str(found)

    def drive_state(self) -> DriveState | None:
        """Return what drive last said of itself, or None before it ever ran."""
        with self._snapshot():
            row = self._db.execute(
                "SELECT boot, loaded, release_seq, state, utc_us FROM drive_state"
            ).fetchone()
        if row is None:
            return None
        boot, loaded, release_seq, state, utc_us = row
        return DriveState(
            boot=boot, loaded=loaded, release_seq=release_seq, state=state, utc_us=utc_us
        )

    def set_drive_state(self, state: DriveState) -> None:
        """Say what drive has in memory and is doing."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO drive_state VALUES (1, ?, ?, ?, ?, ?)",
                (state.boot, state.loaded, state.release_seq, state.state, state.utc_us),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: a transaction that reads first and writes later could not wait for the other
        # process, since its snapshot would be stale once it got the lock.
        with translated(), transaction(self._db, "IMMEDIATE"):
            yield

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        with translated(), transaction(self._db, "DEFERRED"):
            yield

    def _one(self, sql: str, *parameters: object) -> Any:
        row = self._db.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def _is_new(
        self, table: str, key: str, boot: str, number: int, record: Sample | ManoeuvreEnd
    ) -> bool:
        stored = self._one(
            f"SELECT content_hash FROM {table} WHERE boot = ? AND {key} = ?",  # noqa: S608 - own names
            boot,
            number,
        )
        if stored is not None and stored != content_hash(record):
            raise RefusedError(f"{table} {boot}/{number} is in use for another content")
        return stored is None

    def _insert(self, table: str, rows: list[dict[str, object]]) -> None:
        if rows:
            self._db.table(table).insert_all(rows)

    def _count(self, name: str, by: int) -> None:
        if by:
            self._db.execute(
                "INSERT INTO counters VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (name, by),
            )

    def _waiting(self, table: str, columns: str, key: str, limit: int) -> list[tuple[Any, ...]]:
        # Boot ids begin with their counter, so their order is the order of the boots.
        sql = f"SELECT {columns} FROM {table} WHERE sent = 0 ORDER BY boot, {key} LIMIT ?"  # noqa: S608 - own names
        with self._snapshot():
            return self._db.execute(sql, (limit,)).fetchall()

    def _unsent(
        self, table: str, key: str, decoder: msgspec.msgpack.Decoder[T], limit: int
    ) -> list[T]:
        found: list[T] = []
        unreadable: list[tuple[str, int]] = []
        for boot, number, body in self._waiting(table, f"boot, {key}, body", key, limit):
            try:
                found.append(_decode(decoder, body))
            except RefusedError as error:
                logger.warning("row_put_aside table=%s %s/%s reason=%s", table, boot, number, error)
                unreadable.append((boot, number))
        if unreadable:
            with self._transaction():
                marked = self._mark(table, key, unreadable, "rejected", "unreadable in the journal")
                self._count("pairs_rejected", marked if table == "samples" else 0)
        return found

    def _mark(
        self, table: str, key: str, rows: Sequence[tuple[str, int]], outcome: str, reason: str
    ) -> int:
        sql = f"UPDATE {table} SET sent = ?, reason = ? WHERE boot = ? AND {key} = ? AND sent = 0"  # noqa: S608 - own names
        sent = _OUTCOMES[outcome]
        return sum(
            self._db.execute(sql, (sent, reason[:200], boot, number)).rowcount
            for boot, number in rows
        )

    def _body(self, table: Literal["desired", "update"]) -> bytes | None:
        with self._snapshot():
            found = self._one(f'SELECT body FROM "{table}"')  # noqa: S608 - own names
        return None if found is None else bytes(found)

    def _set_body(self, table: Literal["desired", "update"], body: bytes) -> None:
        with self._transaction():
            self._db.execute(f'INSERT OR REPLACE INTO "{table}" VALUES (1, ?)', (body,))  # noqa: S608 - own names


def _sample_row(sample: Sample) -> dict[str, object]:
    return {
        "boot": sample.boot,
        "sequence": sample.sequence,
        "manoeuvre": sample.manoeuvre,
        "body": _readable(_samples, msgspec.msgpack.encode(sample)),
        "content_hash": content_hash(sample),
    }


def _picture_row(sample: Sample, jpeg: bytes) -> dict[str, object]:
    return {
        "boot": sample.boot,
        "sequence": sample.sequence,
        "device": sample.device,
        "sha256": sample.picture_sha256,
        "jpeg": jpeg,
    }


def _manoeuvre_row(end: ManoeuvreEnd) -> dict[str, object]:
    return {
        "boot": end.boot,
        "manoeuvre": end.manoeuvre,
        "body": _readable(_manoeuvres, msgspec.msgpack.encode(end)),
        "content_hash": content_hash(end),
    }


def _readable(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> bytes:
    # A field of a wrong type is our bug; it must show here, and not as a row that nobody can read.
    decoder.decode(body)
    return body


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise RefusedError(f"journal is damaged: {error}") from None
