"""Closes the manoeuvres that a killed drive left open, so that they are learnt from and reported.

Laws:
- only manoeuvres of earlier boots are closed, each in one transaction and once;
- an end is withheld as its pairs are: it gets the least of their levels of consent;
- a manoeuvre without a readable pair is left alone.
"""

import logging

from device.interrupted import end_of
from device.journal.file import JournalFile
from device.journal.records import manoeuvre_row, to_sample
from shared.errors import RefusedError
from shared.samples import Sample

logger = logging.getLogger(__name__)

# The inner query reads the index alone, so that the outer one asks once a manoeuvre.
_OPEN = """
SELECT boot, manoeuvre FROM (SELECT DISTINCT boot, manoeuvre FROM samples WHERE boot < ?) AS s
WHERE NOT EXISTS (SELECT 1 FROM manoeuvres AS m
 WHERE m.boot = s.boot AND m.manoeuvre = s.manoeuvre)
"""


class ClosingTables(JournalFile):
    """Manoeuvres without an end in an open journal."""

    def close_interrupted(self, boot: str) -> int:
        """Write the ends that boots before `boot` left out; return how many there were."""
        with self.reading():
            found = self.db.execute(_OPEN, (boot,)).fetchall()
        return sum(self._close(*place) for place in found)

    def _close(self, boot: str, manoeuvre: int) -> bool:
        with self.writing():
            pairs, consent, first, last = self.db.execute(
                "SELECT count(*), min(consent), min(sequence), max(sequence) FROM samples"
                " WHERE boot = ? AND manoeuvre = ?",
                (boot, manoeuvre),
            ).fetchone()
            found = self._readable(boot, first, last)
            # A damaged row may say anything, also that it is another manoeuvre's.
            samples = [each for each in found if (each.boot, each.manoeuvre) == (boot, manoeuvre)]
            if not samples:
                return False
            self.db.table("manoeuvres").insert(manoeuvre_row(end_of(samples, pairs), consent))
        logger.warning("manoeuvre_was_interrupted %s/%d pairs=%d", boot, manoeuvre, pairs)
        return True

    def _readable(self, boot: str, *sequences: int) -> list[Sample]:
        found: list[Sample] = []
        for sequence in sequences:
            body = self.one(
                "SELECT body FROM samples WHERE boot = ? AND sequence = ?", boot, sequence
            )
            try:
                found.append(to_sample(body))
            except RefusedError as error:
                logger.warning("row_unreadable %s/%d reason=%s", boot, sequence, error)
        return found
