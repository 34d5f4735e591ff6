"""The journal: the durable interface between drive, which logs pairs, and agent, which sends them.

Laws:
- one call is one transaction: after a SIGKILL at any instant it happened as a whole or not at all,
  and what happened is on the disk (WAL, synchronous=FULL);
- (boot, sequence) is used once: the same sample again changes nothing, another one is refused;
- what was captured while the owner's level was `none` never enters the queue, nor do pictures of
  `characteristics`; what is flagged or asked for goes before the rest, then the oldest;
- a row leaves the queue only by `mark`, which is called on the server's receipt, and only once;
- one unreadable row never holds up the others: it is put aside as rejected;
- what is counted is counted in the transaction that it counts;
- when space runs out, what is given up and why is counted in the transaction that gives it up.

Both processes write; each waits up to five seconds for the other. A journal belongs to the thread
that opened it. Failures of disk and lock raise `RetryLaterError`, a damaged file `RefusedError`.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from device.journal.closing import ClosingTables
from device.journal.counts import CountTables
from device.journal.file import open_database, open_for_reading
from device.journal.records import (
    manoeuvre_row,
    picture_row,
    sample_row,
    to_manoeuvre,
    to_sample,
)
from device.journal.slots import SlotTables
from device.journal.state import StateTables
from device.journal.watch import ASKED, WatchTables
from shared.errors import RefusedError, RetryLaterError
from shared.ids import SampleKey, boot_id
from shared.messages import UPLOAD_ORDER, UploadLevel
from shared.samples import ManoeuvreEnd, Picture, Sample, content_hash

_OUTCOMES: dict[str, int] = {"sent": 1, "rejected": 2}

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Journal(StateTables, SlotTables, WatchTables, CountTables, ClosingTables):
    """One open connection to a car's journal."""

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Return the journal at `path`, created or migrated where needed.

        Raises:
            UsageError: there is no such folder, or the file is no journal or a newer version's.
            RefusedError: the file is damaged.
            RetryLaterError: the disk or the other process is in the way.
        """
        return cls(open_database(path))

    @classmethod
    def open_for_reading(cls, path: Path) -> "Journal":
        """Return the journal at `path` as it is, also from a disk that takes nothing.

        Raises:
            RetryLaterError: it cannot be read either.
        """
        return cls(open_for_reading(path))

    @classmethod
    def open_to_look(cls, path: Path) -> "Journal":
        """Return the journal at `path`, for reading only where the disk takes nothing.

        Raises:
            UsageError, RefusedError: as `open`.
            RetryLaterError: it cannot be read either.
        """
        try:
            return cls.open(path)
        except RetryLaterError as error:
            try:
                return cls.open_for_reading(path)
            except RetryLaterError:
                raise error from None

    def start_boot(self, entropy: bytes) -> str:
        """Return a new boot id from the persisted counter and four random bytes of `entropy`."""
        with self.writing():
            self.db.execute(
                "INSERT INTO meta VALUES ('boot_counter', 1)"
                " ON CONFLICT (key) DO UPDATE SET value = value + 1"
            )
            self.note_start()
            return boot_id(self._boots(), entropy)

    def next_boot(self, entropy: bytes) -> str:
        """Return what `start_boot` would, without keeping it; `note_boot` makes up for that."""
        with self.reading():
            return boot_id(self._boots() + 1, entropy)

    def note_boot(self, boot: str) -> None:
        """Number later boots after `boot`, which began while nothing could be written."""
        with self.writing():
            if self._boots() < int(boot[:8]):
                self.db.execute(
                    "INSERT OR REPLACE INTO meta VALUES ('boot_counter', ?)", (int(boot[:8]),)
                )

    def append(
        self,
        *,
        samples: Sequence[tuple[Sample, bytes | None]],
        manoeuvres: Sequence[ManoeuvreEnd] = (),
        consent: UploadLevel = "pictures",
    ) -> None:
        """Store samples, each with its JPEG or None, and ends of manoeuvres; all or nothing.

        What is stored already is passed over. `consent` is the owner's level as they were captured.

        Raises:
            RefusedError: a key is in use for another content.
            RetryLaterError: the disk is full or fails.
        """
        level = UPLOAD_ORDER.index(consent)
        with self.writing():
            fresh = [
                (sample, jpeg)
                for sample, jpeg in samples
                if self._is_new("samples", "sequence", sample.boot, sample.sequence, sample)
            ]
            self._insert("samples", [sample_row(sample, level) for sample, _ in fresh])
            self._insert("pictures", [picture_row(s, jpeg, level) for s, jpeg in fresh if jpeg])
            self._insert(
                "manoeuvres",
                [
                    manoeuvre_row(end, level)
                    for end in manoeuvres
                    if self._is_new("manoeuvres", "manoeuvre", end.boot, end.manoeuvre, end)
                ],
            )
            self.count("pairs_logged", len(fresh))
            for boot, pairs in Counter(sample.boot for sample, _ in fresh).items():
                self.account(boot, pairs)
            if level == 0:
                self.count("pairs_withheld", len(fresh))

    def unsent_samples(self, limit: int) -> list[Sample]:
        """Return at most `limit` waiting samples: those that go first, then the oldest."""
        return self._unsent("samples", "sequence", to_sample, limit)

    def unsent_manoeuvres(self, limit: int) -> list[ManoeuvreEnd]:
        """Return at most `limit` waiting ends of manoeuvres, in the same order."""
        return self._unsent("manoeuvres", "manoeuvre", to_manoeuvre, limit)

    def unsent_pictures(self, limit: int, *, asked: bool = False) -> list[Picture]:
        """Return at most `limit` waiting pictures in that order; `asked`: only those asked for."""
        columns = "device, boot, sequence, sha256, jpeg"
        return [
            Picture(device=device, boot=boot, sequence=sequence, sha256=sha256, jpeg=jpeg)
            for device, boot, sequence, sha256, jpeg in self._waiting(
                "pictures", columns, "sequence", limit, least=ASKED if asked else 0
            )
        ]

    def pairs_after(
        self, last: tuple[str, int], limit: int, *, pictures: bool = True
    ) -> list[tuple[Sample, bytes | None]]:
        """Return at most `limit` stored samples after (boot, sequence) `last`, sent or not.

        Beside each its JPEG, None where there is none or `pictures` is False.
        """
        jpeg = "p.jpeg" if pictures else "NULL"
        with self.reading():
            rows = self.db.execute(
                f"SELECT s.body, {jpeg} FROM samples AS s LEFT JOIN pictures AS p"  # noqa: S608 - own names
                " ON p.boot = s.boot AND p.sequence = s.sequence"
                " WHERE (s.boot, s.sequence) > (?, ?) ORDER BY s.boot, s.sequence LIMIT ?",
                (*last, limit),
            ).fetchall()
        return [(to_sample(body), jpeg) for body, jpeg in rows]

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
        with self.writing():
            marked = self._mark("samples", "sequence", keys, outcome, reason)
            self.count(f"pairs_{outcome}", marked)
            self._mark("manoeuvres", "manoeuvre", manoeuvres, outcome, reason)
            keys = [(key.boot, key.sequence) for key in pictures]
            self._mark("pictures", "sequence", keys, outcome, reason)

    def _boots(self) -> int:
        return int(self.one("SELECT value FROM meta WHERE key = 'boot_counter'") or 0)

    def _is_new(
        self, table: str, key: str, boot: str, number: int, record: Sample | ManoeuvreEnd
    ) -> bool:
        stored = self.one(
            f"SELECT content_hash FROM {table} WHERE boot = ? AND {key} = ?",  # noqa: S608 - own names
            boot,
            number,
        )
        if stored is not None and stored != content_hash(record):
            raise RefusedError(f"{table} {boot}/{number} is in use for another content")
        return stored is None

    def _insert(self, table: str, rows: list[dict[str, object]]) -> None:
        if rows:
            self.db.table(table).insert_all(rows)

    def _waiting(
        self, table: str, columns: str, key: str, limit: int, *, least: int = 0
    ) -> list[tuple[Any, ...]]:
        # As the partial indexes have it. Boot ids begin with their counter, so their order is the
        # order of the boots.
        needed = 1 if table == "pictures" else 0
        sql = (
            f"SELECT {columns} FROM {table} WHERE sent = 0 AND consent > {needed}"  # noqa: S608 - own names
            f" AND priority >= {least} ORDER BY priority DESC, boot, {key} LIMIT ?"
        )
        with self.reading():
            return self.db.execute(sql, (limit,)).fetchall()

    def _unsent(self, table: str, key: str, decode: Callable[[bytes], T], limit: int) -> list[T]:
        found: list[T] = []
        unreadable: list[tuple[str, int]] = []
        for boot, number, body in self._waiting(table, f"boot, {key}, body", key, limit):
            try:
                found.append(decode(body))
            except RefusedError as error:
                logger.warning("row_put_aside table=%s %s/%s reason=%s", table, boot, number, error)
                unreadable.append((boot, number))
        if unreadable:
            with self.writing():
                marked = self._mark(table, key, unreadable, "rejected", "unreadable in the journal")
                self.count("pairs_rejected", marked if table == "samples" else 0)
        return found

    def _mark(
        self, table: str, key: str, rows: Sequence[tuple[str, int]], outcome: str, reason: str
    ) -> int:
        sql = f"UPDATE {table} SET sent = ?, reason = ? WHERE boot = ? AND {key} = ? AND sent = 0"  # noqa: S608 - own names
        sent = _OUTCOMES[outcome]
        return sum(
            self.db.execute(sql, (sent, reason[:200], boot, number)).rowcount
            for boot, number in rows
        )
