"""Pairs on their way into the journal, written by a thread so that no disk holds up the wheels.

Laws:
- `log` never waits: where the queue is full the pair is dropped, counted and reported;
- what was accepted is written in the order in which it came, by `device.drive.writer`;
- whoever waits for the thread notices its death.
"""

import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path

from device.drive.writer import HandedOver, Pair, Writer
from device.journal import DriveState
from device.journal.room import Budget
from device.tally import Tally
from shared.messages import UploadLevel
from shared.picture import Pixels
from shared.samples import ManoeuvreEnd, Sample

_MAX_QUEUED = 256
_LIVELINESS_S = 1.0
_RETRY_S = 5.0


@dataclass(frozen=True)
class _Flush:
    done: threading.Event = field(default_factory=threading.Event)
    closes: bool = False


class Recorder:
    """The writer thread and its queue."""

    def __init__(
        self,
        journal: Path,
        *,
        boot: str,
        tally: Path,
        budget: Budget,
        fault: str = "",
        consent: UploadLevel = "pictures",
    ) -> None:
        """Start writing to the journal at `journal`, as the boot `boot`, within `budget`.

        The file `tally` tells the next boot what this one could not store (`device.tally`).
        `fault` is what was in the way already, before this was asked to write anything. `consent`
        is the owner's level, recorded with each row.
        """
        self._queue: queue.Queue[Pair | ManoeuvreEnd | DriveState | _Flush]
        self._queue = queue.Queue(_MAX_QUEUED)
        self._handed_over = HandedOver()
        self._writer = Writer(
            journal,
            boot=boot,
            tally=Tally(tally),
            budget=budget,
            handed_over=self._handed_over,
            consent=consent,
            fault=fault,
        )
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
        self._handed_over.given = sample.sequence + 1
        try:
            self._queue.put_nowait(Pair(sample, picture))
        except queue.Full:
            self._handed_over.lose("queue_full")
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
            if isinstance(item, Pair):
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
