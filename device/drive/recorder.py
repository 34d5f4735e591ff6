"""Pairs on their way into the journal, written by a thread so that no disk holds up the wheels.

Laws:
- `log` never waits: where the queue is full the pair is dropped, counted and reported;
- a pair that was accepted is written, or tried again until it is: what a full disk holds back stays
  here, up to a limit, and beyond that new pairs are dropped, not old ones;
- the end of a manoeuvre is written after its pairs, and says how many of them there are;
- what drive says of itself is written too, the newest only;
- rows are given up for room (`journal_room`) after a manoeuvre, never during one: that computes;
- JPEGs and characteristics are made here, from values that nothing changes any more.
"""

import logging
import queue
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device.journal import DriveState, Journal
from device.journal_file import is_full
from device.journal_room import Budget, keep_within
from shared import characteristics
from shared.errors import ParkfleetError, RetryLaterError
from shared.ids import sha256_hex
from shared.messages import UploadLevel
from shared.picture import Pixels, encode_jpeg
from shared.samples import ManoeuvreEnd, Sample

_log = logging.getLogger(__name__)

_MAX_QUEUED = 256
_MAX_HELD = 2048
_LIVELINESS_S = 1.0
_RETRY_S = 5.0
_MAX_FAULT = 120


@dataclass(frozen=True)
class _Pair:
    sample: Sample
    picture: Pixels


@dataclass(frozen=True)
class _Flush:
    done: threading.Event = field(default_factory=threading.Event)
    closes: bool = False


class _Losses:
    """Pairs that were dropped and are not yet accounted for in the journal, by reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pairs: Counter[str] = Counter()

    def add(self, reason: str, pairs: int = 1) -> None:
        with self._lock:
            self._pairs[reason] += pairs
        _log.warning("pairs_dropped reason=%s pairs=%d", reason, pairs)

    def account(self, journal: Journal) -> None:
        with self._lock:
            for reason in list(self._pairs):
                journal.count_dropped(reason, self._pairs[reason])
                del self._pairs[reason]


class Recorder:
    """The writer thread and its queue."""

    def __init__(
        self,
        journal: Path,
        *,
        boot: str,
        budget: Budget,
        fault: str = "",
        consent: UploadLevel = "pictures",
    ) -> None:
        """Start writing to the journal at `journal`, as the boot `boot`, within `budget`.

        `fault` is what was in the way already, before this was asked to write anything. `consent`
        is the owner's level, recorded with each row.
        """
        self._queue: queue.Queue[_Pair | ManoeuvreEnd | DriveState | _Flush]
        self._queue = queue.Queue(_MAX_QUEUED)
        self._losses = _Losses()
        self._writer = _Writer(journal, boot, budget, self._losses, consent)
        self._writer.fault = fault[:_MAX_FAULT]
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> str:
        """What keeps the pairs from being stored now, or an empty text."""
        return self._writer.fault

    @property
    def stored(self) -> int:
        """How often something was stored; another number than before says that there is news."""
        return self._writer.stored

    def log(self, sample: Sample, picture: Pixels) -> bool:
        """Hand over a pair, and tell whether there was room.

        The picture's digest and characteristics are filled in on the way.
        """
        try:
            self._queue.put_nowait(_Pair(sample, picture))
        except queue.Full:
            self._losses.add("queue_full")
            return False
        return True

    def end(self, end: ManoeuvreEnd) -> None:
        """Hand over the end of a manoeuvre, whose `pairs` is filled in; the car stands, so wait.

        This waits for the disk only where a simulated car outruns it, or a real disk hangs.
        """
        self._put(end)
        if self._queue.qsize() > _MAX_QUEUED // 2:
            self.flush()

    def report(self, state: DriveState) -> None:
        """Hand over what drive says of itself; the car stands, so wait."""
        self._put(state)

    def flush(self) -> None:
        """Return once everything handed over so far was tried; call only while the car stands."""
        self._wait(_Flush())

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._wait(_Flush(closes=True))
        self._thread.join()

    def _wait(self, flush: _Flush) -> None:
        self._put(flush)
        while not flush.done.wait(_LIVELINESS_S):
            self._check_alive()

    def _put(self, item: ManoeuvreEnd | DriveState | _Flush) -> None:
        while True:
            self._check_alive()
            try:
                self._queue.put(item, timeout=_LIVELINESS_S)
            except queue.Full:
                continue
            return

    def _check_alive(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the journal's writer has died")

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_RETRY_S)
            except queue.Empty:
                self._writer.try_again()
                continue
            if isinstance(item, _Pair):
                self._writer.add(item)
            elif isinstance(item, ManoeuvreEnd):
                self._writer.add_end(item)
            elif isinstance(item, DriveState):
                self._writer.state = item
            if isinstance(item, _Flush) or self._queue.empty():
                self._writer.store()
            if isinstance(item, _Flush):
                if item.closes:
                    self._writer.close()
                item.done.set()
                if item.closes:
                    return


class _Writer:
    """The thread's own half: what is held until it is stored."""

    def __init__(
        self, path: Path, boot: str, budget: Budget, losses: _Losses, consent: UploadLevel
    ) -> None:
        self.fault = ""
        self.stored = 0
        self.state: DriveState | None = None
        self._path, self._boot, self._budget, self._losses = path, boot, budget, losses
        self._consent = consent
        self._journal: Journal | None = None
        self._is_noted = False
        self._samples: list[tuple[Sample, bytes | None]] = []
        self._ends: list[ManoeuvreEnd] = []
        self._pairs: Counter[int] = Counter()

    def add(self, pair: _Pair) -> None:
        if len(self._samples) >= _MAX_HELD:
            self._losses.add("disk")
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
            self.fault = str(error)[:_MAX_FAULT]
            _log.exception("journal_write_failed")
            self._losses.add("refused", len(self._samples))
            self._samples, self._ends, self.state = [], [], None
        else:
            self.fault = ""

    def _opened(self) -> Journal:
        if self._journal is None:
            # A connection belongs to the thread that opened it.
            self._journal = Journal.open(self._path)
        if not self._is_noted:
            self._journal.note_boot(self._boot)
            self._is_noted = True
        return self._journal

    def _write(self, journal: Journal) -> None:
        self._losses.account(journal)
        if self._samples or self._ends:
            journal.append(samples=self._samples, manoeuvres=self._ends, consent=self._consent)
            self._samples, self._ends = [], []
            self.stored += 1
        if self.state is not None:
            journal.set_drive_state(self.state)
            self.state = None

    def close(self) -> None:
        if self._samples or self._ends:
            _log.error("pairs_lost_at_the_end pairs=%d reason=%s", len(self._samples), self.fault)
        if self._journal is not None:
            self._journal.close()
