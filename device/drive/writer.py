"""What is held until the journal has it: the recorder's own half, in the recorder's own thread.

Laws:
- a pair that was accepted is written, or tried again until it is: what a full disk holds back stays
  here, up to a limit, and beyond that new pairs are dropped, not old ones;
- the end of a manoeuvre is written after its pairs, and says how many of them there are;
- what drive says of itself is written too, the newest only;
- what ends with the process unwritten, by a kill or on a full disk, the next boot counts as lost;
- rows are given up for room (`device.journal.room`) after a manoeuvre, never during one, since that
  computes;
- JPEGs and characteristics are made here, from values that nothing changes any more.
"""

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from device.journal import DriveState, Journal
from device.journal.file import is_full
from device.journal.room import Budget, keep_within
from device.tally import Tally
from shared import characteristics
from shared.errors import ParkfleetError, RetryLaterError
from shared.ids import sha256_hex
from shared.messages import UploadLevel
from shared.picture import Pixels, encode_jpeg
from shared.samples import ManoeuvreEnd, Sample

_log = logging.getLogger(__name__)

_MAX_HELD = 2048
_MAX_FAULT = 120


@dataclass(frozen=True)
class Pair:
    """A sample and the picture that it is of."""

    sample: Sample
    picture: Pixels


class HandedOver:
    """What the control loop was rid of, seen from both threads.

    `given` pairs so far; those of them that were lost wait here until the journal counts them.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.given = 0
        self._lock = threading.Lock()
        self._lost: Counter[str] = Counter()

    def lose(self, reason: str, pairs: int = 1) -> None:
        """Note that so many of the pairs are lost."""
        with self._lock:
            self._lost[reason] += pairs
        _log.warning("pairs_dropped reason=%s pairs=%d", reason, pairs)

    def account(self, journal: Journal, boot: str) -> None:
        """Have `journal` count what was lost; nobody who loses a pair waits for the disk.

        Raises:
            RetryLaterError: it takes nothing now.
        """
        with self._lock:
            lost = {reason: pairs for reason, pairs in self._lost.items() if pairs}
        for reason, pairs in lost.items():
            journal.count_dropped(reason, pairs, boot)
            with self._lock:
                self._lost[reason] -= pairs


class Writer:
    """What is held, and the journal that it goes to. `fault` is what is in the way, if anything.

    `stored` counts how often something was stored; `state` is what drive says of itself.
    """

    def __init__(
        self,
        path: Path,
        *,
        boot: str,
        tally: Tally,
        budget: Budget,
        handed_over: HandedOver,
        consent: UploadLevel,
        fault: str,
    ) -> None:
        """Hold nothing yet; the journal at `path` is opened where it is first needed."""
        self.fault = fault[:_MAX_FAULT]
        self.stored = 0
        self.state: DriveState | None = None
        self._path, self._boot, self._tally, self._budget = path, boot, tally, budget
        self._handed_over, self._consent = handed_over, consent
        self._journal: Journal | None = None
        self._is_noted = False
        self._samples: list[tuple[Sample, bytes | None]] = []
        self._ends: list[ManoeuvreEnd] = []
        self._pairs: Counter[int] = Counter()

    def add(self, pair: Pair) -> None:
        """Hold a pair until it is stored; drop it where too many are held."""
        self._tally.note(self._boot, self._handed_over.given)
        if len(self._samples) >= _MAX_HELD:
            self._handed_over.lose("disk")
            return
        jpeg = encode_jpeg(pair.picture)
        sample = msgspec.structs.replace(
            pair.sample,
            characteristics=characteristics.measure(pair.picture),
            picture_sha256=sha256_hex(jpeg),
        )
        self._samples.append((sample, jpeg))
        self._pairs[sample.manoeuvre] += 1

    def add_end(self, end: ManoeuvreEnd) -> None:
        """Hold the end of a manoeuvre, all of whose pairs were added."""
        self._ends.append(msgspec.structs.replace(end, pairs=self._pairs.pop(end.manoeuvre, 0)))

    def try_again(self) -> None:
        """Store what an earlier attempt could not."""
        if self.fault:
            self.store()

    def store(self) -> None:
        """Try to store all that is held; `fault` tells afterwards what is in the way."""
        has_ended = bool(self._ends)
        try:
            journal = self._opened()
            try:
                self._write(journal)
            except RetryLaterError as error:
                # A manoeuvre's pairs can wait here; once it is over there is time to make room.
                if not (has_ended and is_full(error)):
                    raise
                keep_within(journal, self._path, self._budget, is_full=True)
                self._write(journal)
            if has_ended:
                keep_within(journal, self._path, self._budget)
        except RetryLaterError as error:
            if not self.fault:
                _log.warning("journal_write_delayed held=%d error=%s", len(self._samples), error)
            self.fault = str(error)[:_MAX_FAULT]
        except ParkfleetError as error:
            # The same rows never succeed, and a damaged journal must not keep the car from driving.
            if not self.fault:
                _log.error("journal_write_failed error=%s", error)
            self.fault = str(error)[:_MAX_FAULT]
            self._handed_over.lose("refused", len(self._samples))
            self._samples, self._ends, self.state = [], [], None
        else:
            self.fault = ""

    def _opened(self) -> Journal:
        if self._journal is None:
            # A connection belongs to the thread that opened it.
            self._journal = Journal.open(self._path)
        if not self._is_noted:
            self._take_over(self._journal)
            self._is_noted = True
        return self._journal

    def _take_over(self, journal: Journal) -> None:
        """Settle what earlier boots left behind: killed, or on a disk that took nothing."""
        journal.note_boot(self._boot)
        journal.close_interrupted(self._boot)
        if not self._tally.is_open:
            return
        lost = journal.settle(self._tally.earlier(self._boot), self._boot)
        self._tally.settle(self._boot)
        if lost:
            _log.warning("pairs_lost_before_this_boot pairs=%d", lost)

    def _write(self, journal: Journal) -> None:
        self._handed_over.account(journal, self._boot)
        if self._samples or self._ends:
            journal.append(samples=self._samples, manoeuvres=self._ends, consent=self._consent)
            self._samples, self._ends = [], []
            self.stored += 1
        if self.state is not None:
            journal.set_drive_state(self.state)
            self.state = None

    def close(self) -> None:
        """Let go of everything; what could not be stored is left to the tally."""
        if self._samples or self._ends:
            _log.error("pairs_lost_at_the_end pairs=%d reason=%s", len(self._samples), self.fault)
        if self._handed_over.given:
            self._tally.note(self._boot, self._handed_over.given)
        self._tally.close()
        if self._journal is not None:
            self._journal.close()
