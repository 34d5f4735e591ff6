"""The control loop's process: everything opened, 30 turns a second, everything closed.

Laws:
- between two turns the clock's `sleep_until_us` is the only wait, so that under a virtual clock a
  run is the same every time;
- what costs time (a journal's answer, a new model) happens in threads, or while the car stands;
- a disk that is full, read-only or failing, and a journal that is damaged or not ours, keep nobody
  from driving, not even at the start;
- however the loop ends, the motors are cut first.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from device.drive.recorder import Recorder
from device.drive.turn import Drive
from device.drive.wishes import Wishes
from device.hardware import Instruments
from device.home import Home
from device.journal import Journal
from device.journal.room import Budget
from device.live import LiveSocket
from device.parking import Rules
from device.settings import DeviceSettings
from shared.errors import ParkfleetError, UsageError
from shared.ids import boot_id
from shared.task import WALL_DISTANCE, Task

_log = logging.getLogger(__name__)

TURN_US = 33_333
"""One turn: 30 Hz, the camera's rate."""

SWITCH_S = 0.0005
"""How long a thread of the driving process may compute before another takes over.

Python's own 5 ms is how late a turn may begin while the recorder or the model's loader computes.
"""

_MEGABYTE = 1_000_000


def run(
    home: Home,
    instruments: Instruments,
    settings: DeviceSettings,
    *,
    stop: Callable[[], bool],
    entropy: bytes | None = None,
    task: Task = WALL_DISTANCE,
    rules: Rules | None = None,
    turned: Callable[[bool], None] = lambda _is_moving: None,
) -> None:
    """Drive until `stop()`; the instruments stay open, the motors are cut.

    `entropy` is four bytes for the boot id (None: from the operating system). `rules` are those of
    parking (None: the car's own, with the target of its settings). `turned` is told after each turn
    whether a manoeuvre is on.

    Raises:
        UsageError: the home folder cannot be used, or another process drives it.
    """
    home.create()
    clock = instruments.clock
    with ExitStack() as opened:
        opened.callback(_cut, instruments)
        opened.enter_context(only_one(home))
        journal, boot, fault = _begin(home, entropy or os.urandom(4))
        if journal is not None:
            opened.callback(journal.close)
        live = LiveSocket(home.drive_socket, home.agent_socket)
        opened.callback(live.close)
        recorder = Recorder(
            home.journal,
            boot=boot,
            tally=home.tally,
            budget=_budget(settings),
            fault=fault,
            consent=settings.upload,
        )
        opened.callback(recorder.close)
        drive = Drive(
            home=home,
            instruments=instruments,
            settings=settings,
            wishes=Wishes(home, journal),
            recorder=recorder,
            live=live,
            boot=boot,
            task=task,
            rules=rules or Rules(target_mm=settings.target_mm),
        )
        opened.callback(drive.finish)
        opened.callback(_stand, instruments, turned)
        due_us = clock.monotonic_us()
        while not stop():
            turned(drive.turn())
            # A turn that took too long is not caught up with: old pictures are of no use.
            due_us = max(due_us + TURN_US, clock.monotonic_us())
            clock.sleep_until_us(due_us)


def _cut(instruments: Instruments) -> None:
    instruments.wheels.stop()
    instruments.signals.set_led(on=False)
    instruments.signals.set_buzzer(on=False)


def _stand(instruments: Instruments, turned: Callable[[bool], None]) -> None:
    """Cut the motors, then say so: what is left to write may take longer than a moving car may."""
    _cut(instruments)
    turned(False)


def _budget(settings: DeviceSettings) -> Budget:
    return Budget(
        journal_bytes=settings.journal_mb * _MEGABYTE,
        spare_bytes=settings.disk_spare_mb * _MEGABYTE,
    )


def _begin(home: Home, entropy: bytes) -> tuple[Journal | None, str, str]:
    """Return the open journal or None, this boot's id, and what is wrong with the disk."""
    try:
        journal = Journal.open(home.journal)
    except ParkfleetError as error:
        _log.error("journal_not_opened error=%s", error)
        return None, _unwritten_boot(home, entropy), str(error)
    try:
        return journal, journal.start_boot(entropy), ""
    except ParkfleetError as error:
        _log.error("boot_not_counted error=%s", error)
        return journal, _unwritten_boot(home, entropy), str(error)


def _unwritten_boot(home: Home, entropy: bytes) -> str:
    """Return a boot id that the recorder has counted once the disk takes something again.

    Its random part keeps it apart from every other one meanwhile.
    """
    try:
        journal = Journal.open_for_reading(home.journal)
    except ParkfleetError:
        return boot_id(0, entropy)
    try:
        return journal.next_boot(entropy)
    except ParkfleetError:
        return boot_id(0, entropy)
    finally:
        journal.close()


@contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Hold the home folder's drive lock, which the system gives back however a process dies.

    Raises:
        UsageError: another process holds it.
    """
    try:
        descriptor = os.open(home.drive_lock, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot open {home.drive_lock}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process drives the car of {home.root}: end it") from None
        yield
    finally:
        os.close(descriptor)
