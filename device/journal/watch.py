"""What the watch over the model's error has consumed, and which rows go before others.

Laws:
- a closed manoeuvre is consumed in one transaction with what was learnt from it and the flags that
  follow: a kill neither skips nor repeats one;
- a flag changes the order of the queue and, in reverse, that in which rows are given up for room;
  nothing else: what consent withholds stays withheld.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Literal

from device.journal.file import JournalFile
from device.journal.records import to_manoeuvre, to_sample
from shared.errors import RefusedError
from shared.samples import Sample

FLAGGED = 1
"""The priority of rows of a manoeuvre in which the watch raised its alarm."""

ASKED = 2
"""The priority of pairs whose pictures an operator asked for."""

Kind = Literal["manoeuvre", "picture", "sample"]


class WatchTables(JournalFile):
    """The watch's side of an open journal."""

    def watch_state(self) -> bytes | None:
        """Return what `watched` last saved, or None."""
        with self.reading():
            found = self.one("SELECT body FROM watch")
        return None if found is None else bytes(found)

    def next_unwatched(self) -> tuple[str, int] | None:
        """Return (boot, manoeuvre) of the oldest closed manoeuvre that is not consumed, or None."""
        with self.reading():
            row = self.db.execute(
                "SELECT boot, manoeuvre FROM manoeuvres WHERE watched = 0"
                " ORDER BY boot, manoeuvre LIMIT 1"
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def samples_of(self, boot: str, manoeuvre: int, limit: int) -> list[Sample]:
        """Return the first `limit` stored samples of a manoeuvre; unreadable ones are left out."""
        with self.reading():
            rows = self.db.execute(
                "SELECT body FROM samples WHERE boot = ? AND manoeuvre = ? LIMIT ?",
                (boot, manoeuvre, limit),
            ).fetchall()
        found: list[Sample] = []
        for (body,) in rows:
            try:
                found.append(to_sample(body))
            except RefusedError:
                continue  # It is put aside, and said to be, where it would be sent.
        return found

    def reason_of(self, boot: str, manoeuvre: int) -> str:
        """Return the reason for which a closed manoeuvre ended; empty where it is unreadable."""
        with self.reading():
            body = self.one(
                "SELECT body FROM manoeuvres WHERE boot = ? AND manoeuvre = ?", boot, manoeuvre
            )
        try:
            return "" if body is None else to_manoeuvre(body).reason
        except RefusedError:
            return ""

    def watched(
        self,
        boot: str,
        manoeuvre: int,
        state: bytes,
        *,
        flag: bool,
        update: bytes | None = None,
    ) -> None:
        """Save `state` as of that manoeuvre's end; `flag` sends its rows before the others.

        `update` is the state of the model update, where it learnt from the manoeuvre too.
        """
        place = (boot, manoeuvre)
        with self.writing():
            self.db.execute("INSERT OR REPLACE INTO watch VALUES (1, ?)", (state,))
            if update is not None:
                self.db.execute('INSERT OR REPLACE INTO "update" VALUES (1, ?)', (update,))
            self.db.execute(
                "UPDATE manoeuvres SET watched = 1 WHERE boot = ? AND manoeuvre = ?", place
            )
            if not flag:
                return
            self.db.execute(
                "UPDATE pictures SET priority = max(priority, ?) WHERE sent = 0 AND boot = ?"
                " AND sequence IN (SELECT sequence FROM samples WHERE boot = ? AND manoeuvre = ?)",
                (FLAGGED, boot, *place),
            )
            # Those that were sent, too: retention values a picture that waits by its sample.
            for table in ("samples", "manoeuvres"):
                self.db.execute(
                    f"UPDATE {table} SET priority = max(priority, ?)"  # noqa: S608 - own names
                    " WHERE boot = ? AND manoeuvre = ?",
                    (FLAGGED, *place),
                )

    def ask_for_pictures(self, keys: Sequence[tuple[str, int]]) -> int:
        """Send the pictures of (boot, sequence) before the others; return how many may be sent.

        Those that are not here, were sent, or were captured below `pictures` do not count.
        """
        with self.writing():
            found = [
                key
                for key in keys
                if self.one(
                    "SELECT count(*) FROM pictures"
                    " WHERE boot = ? AND sequence = ? AND sent = 0 AND consent > 1",
                    *key,
                )
            ]
            for table in ("samples", "pictures"):
                self.db.conn.executemany(
                    f"UPDATE {table} SET priority = {ASKED}"  # noqa: S608 - own names
                    " WHERE boot = ? AND sequence = ?",
                    found,
                )
        return len(found)

    def first_rows(self, limit: int) -> frozenset[tuple[Kind, str, int]]:
        """Return the waiting rows that go before others, at most `limit` of each kind."""
        tables: tuple[tuple[Kind, str], ...] = (
            ("manoeuvre", "SELECT boot, manoeuvre FROM manoeuvres WHERE sent = 0 AND consent > 0"),
            ("picture", "SELECT boot, sequence FROM pictures WHERE sent = 0 AND consent > 1"),
            ("sample", "SELECT boot, sequence FROM samples WHERE sent = 0 AND consent > 0"),
        )
        with self.reading():
            return frozenset(
                chain.from_iterable(
                    (
                        (kind, boot, number)
                        for boot, number in self.db.execute(
                            f"{sql} AND priority > 0 ORDER BY priority DESC LIMIT ?", (limit,)
                        )
                    )
                    for kind, sql in tables
                )
            )
