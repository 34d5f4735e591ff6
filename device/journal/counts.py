"""What became of the pairs, in numbers that add up.

Laws:
- what is counted is counted in the transaction that it counts;
- each pair that a boot was given is counted once: stored, or lost for a reason;
- what a boot was given and never accounted for was in the memory of a process that ended: the next
  boot counts it as lost (`unwritten`), from the numbers that `device.tally` kept, and once only.
"""

from collections.abc import Mapping

from device.journal.file import JournalFile
from device.journal.records import JournalCounts

_DROPPED = "dropped_"
_ACCOUNTED = "accounted_"


class CountTables(JournalFile):
    """The counters of an open journal."""

    def count(self, name: str, by: int) -> None:
        """Add `by` to the counter `name`; within a transaction, that of what is counted."""
        if by:
            self.db.execute(
                "INSERT INTO counters VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (name, by),
            )

    def account(self, boot: str, pairs: int) -> None:
        """Count `pairs` that `boot` was given as accounted for, as `count` does."""
        self.count(f"{_ACCOUNTED}{boot}", pairs)

    def count_dropped(self, reason: str, pairs: int, boot: str) -> None:
        """Add `pairs` of `boot` to those that were lost before they could be stored."""
        with self.writing():
            self.count(f"{_DROPPED}{reason}", pairs)
            self.account(boot, pairs)

    def settle(self, given: Mapping[str, int], boot: str) -> int:
        """Count what earlier boots were `given` and never accounted for; return how many pairs.

        `boot` is the present one. Settling the same again counts nothing.
        """
        lost = 0
        with self.writing():
            for earlier, pairs in given.items():
                unwritten = max(0, pairs - self._accounted(earlier))
                self.count(f"{_DROPPED}unwritten", unwritten)
                self.account(earlier, unwritten)
                lost += unwritten
            # A boot's number is of use until its entry in the tally is gone.
            kept = {f"{_ACCOUNTED}{each}" for each in (*given, boot)}
            names = self.db.execute(
                "SELECT name FROM counters WHERE name >= ? AND name < ?",
                (_ACCOUNTED, f"{_ACCOUNTED}~"),
            ).fetchall()
            for (name,) in names:
                if name not in kept:
                    self.db.execute("DELETE FROM counters WHERE name = ?", (name,))
        return lost

    def counts(self) -> JournalCounts:
        """Return what became of the pairs, all figures of the same instant."""
        with self.reading():
            rows = dict(self.db.execute("SELECT name, value FROM counters").fetchall())
            waiting = self.one("SELECT count(*) FROM samples WHERE sent = 0 AND consent > 0")
        dropped = {
            name.removeprefix(_DROPPED): value
            for name, value in sorted(rows.items())
            if name.startswith(_DROPPED)
        }
        return JournalCounts(
            pairs_logged=rows.get("pairs_logged", 0),
            pairs_sent=rows.get("pairs_sent", 0),
            pairs_rejected=rows.get("pairs_rejected", 0),
            pairs_dropped=sum(dropped.values()),
            queue_depth=waiting,
            pairs_discarded=rows.get("pairs_discarded", 0),
            pictures_dropped=rows.get("pictures_dropped", 0),
            pairs_withheld=rows.get("pairs_withheld", 0),
            dropped=dropped,
        )

    def _accounted(self, boot: str) -> int:
        return int(
            self.one("SELECT value FROM counters WHERE name = ?", f"{_ACCOUNTED}{boot}") or 0
        )
