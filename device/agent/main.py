"""The agent's process: runs until it is asked to stop, or until everything was sent.

Laws:
- keys that change on the disk are taken up at once, with a new connection; a change of keys that
  was cut short is taken up at the start and every half a minute;
- one agent a home: two would take the broker from each other, since they share a client id;
- asked to stop, it says so to the fleet and leaves; killed, its last will does.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device.agent import rotation
from device.agent.enrolment import BrokerPlace
from device.agent.shell import Shell
from device.home import Home
from shared.clock import Clock, SystemClock
from shared.errors import RetryLaterError, UsageError

logger = logging.getLogger(__name__)

_FINISH_US = 30_000_000


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """What `sync_once` did; `pairs_waiting` are left, `is_complete` tells whether that is none."""

    pairs_sent: int
    pairs_rejected: int
    pairs_waiting: int
    is_complete: bool


def run(
    home: Home,
    *,
    stop: Callable[[], bool],
    clock: Clock | None = None,
    place: BrokerPlace | None = None,
) -> None:
    """Run the agent of `home` until `stop()` tells so; `place` overrules where the broker is.

    Raises:
        UsageError: the car is not enrolled, or another agent runs for this home.
        RetryLaterError: the journal is busy or the disk full at the start.
    """
    clock = clock or SystemClock()
    with _only_agent(home):
        while True:
            keys = _Keys(home, clock)
            with _opened(home, clock, place) as shell:
                while not keys.are_new():
                    if stop():
                        return
                    shell.step()


def sync_once(
    home: Home,
    *,
    timeout_s: float,
    stop: Callable[[], bool],
    clock: Clock | None = None,
    place: BrokerPlace | None = None,
) -> SyncResult:
    """Connect, send everything that may leave, wait for the receipts, and end.

    Raises:
        UsageError: as for `run`.
        RetryLaterError: the broker refused or was not reached within `timeout_s`.
    """
    clock = clock or SystemClock()
    with _only_agent(home), _opened(home, clock, place) as shell:
        before = shell.journal.counts()
        deadline_us = clock.monotonic_us() + round(timeout_s * 1_000_000)
        was_connected = False
        while clock.monotonic_us() < deadline_us and not stop():
            shell.step()
            was_connected = was_connected or shell.agent.is_connected
            if shell.agent.is_settled:
                break
        after = shell.journal.counts()
        if not was_connected and not stop():
            raise RetryLaterError(
                f"no connection to the broker within {timeout_s:g} s: {shell.refusal or 'silence'}"
            )
        return SyncResult(
            pairs_sent=after.pairs_sent - before.pairs_sent,
            pairs_rejected=after.pairs_rejected - before.pairs_rejected,
            pairs_waiting=after.queue_depth,
            is_complete=shell.agent.is_settled,
        )


class _Keys:
    """Watches the car's keys on the disk."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._known = self._look()
        self._again_us = clock.monotonic_us() + _FINISH_US

    def are_new(self) -> bool:
        """Tell whether to begin anew: with other keys, or to finish changing them."""
        if rotation.is_pending(self._home):
            return self._clock.monotonic_us() >= self._again_us
        return self._home.enrolment.exists() and self._look() != self._known

    def _look(self) -> tuple[tuple[int, int], ...]:
        return tuple(_stamp(each) for each in (self._home.signing_key, self._home.mqtt_secret))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)


def _take_up_rotation(home: Home) -> None:
    if not rotation.is_pending(home):
        return
    try:
        rotation.rotate(home)
    except (UsageError, RetryLaterError) as error:
        logger.warning("rotation_waits reason=%s", error)


@contextmanager
def _opened(home: Home, clock: Clock, place: BrokerPlace | None) -> Iterator[Shell]:
    _take_up_rotation(home)
    shell = Shell(home, clock, place)
    try:
        shell.start()
        yield shell
    finally:
        shell.close()


@contextmanager
def _only_agent(home: Home) -> Iterator[None]:
    if not home.root.is_dir():
        raise UsageError(f"there is no home folder {home.root}: enrol the car first")
    try:
        descriptor = os.open(home.agent_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"cannot use {home.agent_lock}: {error.strerror}") from None
    try:
        _lock(descriptor, home)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, home: Home) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"an agent runs for {home.root} already, and sends by itself; stop it first"
        ) from None
