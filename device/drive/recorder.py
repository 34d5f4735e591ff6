"""Pairs on their way into the journal, written by a thread so that no disk holds up the wheels.

Laws:
- `log` never waits: where the queue is full the pair is dropped, counted and reported;
- a pair that was accepted is written, or tried again until it is: what a full disk holds back stays
  here, up to a limit, and beyond that new pairs are dropped, not old ones;
- the end of a manoeuvre is written after its pairs, and says how many of them there are;
- JPEGs and characteristics are made here, from values that nothing changes any more.
"""

import logging
import queue
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device.journal import Journal
from shared import characteristics
from shared.errors import ParkfleetError, RetryLaterError
from shared.ids import sha256_hex
from shared.picture import Pixels, encode_jpeg
from shared.samples import ManoeuvreEnd, Sample

_log = logging.getLogger(__name__)

_MAX_QUEUED = 256
_MAX_HELD = 2048
_LIVELINESS_S = 1.0


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

    def __init__(self, journal: Path) -> None:
        """Start writing to the journal at `journal`."""
        self._queue: queue.Queue[_Pair | ManoeuvreEnd | _Flush] = queue.Queue(_MAX_QUEUED)
        self._losses = _Losses()
        self._writer = _Writer(journal, self._losses)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> str:
        """What keeps the pairs from being stored now, or an empty text."""
        return self._writer.fault

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
        """Hand over the end of a manoeuvre, whose `pairs` is filled in; the car stands, so wait."""
        self._put(end)

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

    def _put(self, item: ManoeuvreEnd | _Flush) -> None:
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
            item = self._queue.get()
            if isinstance(item, _Pair):
                self._writer.add(item)
            elif isinstance(item, ManoeuvreEnd):
                self._writer.add_end(item)
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

    def __init__(self, path: Path, losses: _Losses) -> None:
        self.fault = ""
        self._path, self._losses = path, losses
        self._journal: Journal | None = None
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

    def store(self) -> None:
        """Try to store all that is held; `fault` tells afterwards what is in the way."""
        try:
            if self._journal is None:
                # A connection belongs to the thread that opened it.
                self._journal = Journal.open(self._path)
            self._losses.account(self._journal)
            if self._samples or self._ends:
                self._journal.append(samples=self._samples, manoeuvres=self._ends)
        except RetryLaterError as error:
            self.fault = str(error)
            _log.warning("journal_write_delayed held=%d error=%s", len(self._samples), error)
        except ParkfleetError as error:
            # The same rows never succeed, and a damaged journal must not keep the car from driving.
            self.fault = str(error)
            _log.exception("journal_write_failed")
            self._losses.add("refused", len(self._samples))
            self._samples, self._ends = [], []
        else:
            self.fault = ""
            self._samples, self._ends = [], []

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
