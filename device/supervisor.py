"""The supervisor: cuts the motors when the process that drives is gone or silent.

Laws:
- an output pin keeps its level when its process dies, so what cuts the motors must outlive it;
- the supervisor does nothing else: it opens no camera, no journal and no network, so that little
  can bring it down, and is warm when it is needed: nothing is loaded or started after a death;
- whoever of the two dies, the car stands: the driving process ends itself where nobody hears its
  beats any more;
- however the driving process ended, the motors are cut once more before the supervisor ends, and
  before a word is logged: who takes the words may keep it waiting.

The driving process writes a byte a turn into a pipe: `MOVING` in a manoeuvre, else `STANDING`. Its
death closes the pipe, which is heard at once. The pins of a killed process are free when `wait`
returns, and not before. Both being killed together is the matter of the pin set-up and the service
manager (docs/adr/0009).
"""

import logging
import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from device.hardware import Cutoff
from shared.clock import Clock
from shared.errors import HardwareError

_log = logging.getLogger(__name__)

MOVING = b"M"
STANDING = b"S"

_MOVING_US = 150_000
"""As long as the oldest picture that is driven by: a loop that hangs longer drives blind."""

_STANDING_US = 20_000_000
_STARTING_US = 60_000_000
_ENDING_US = 10_000_000
_LOOK_S = 0.02
_LOOK_MOVING_S = 0.005
"""What a look comes late is added to the silence of a car that drives blind."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is known of the driving process; a pure state."""

    heard_us: int
    is_moving: bool = False
    has_beaten: bool = False
    asked_us: int | None = None

    def beaten(self, beats: bytes, now_us: int) -> "Watch":
        """Return the state after `beats` were read at `now_us`; the newest one counts."""
        return replace(self, heard_us=now_us, has_beaten=True, is_moving=beats[-1:] == MOVING)

    def asked(self, now_us: int) -> "Watch":
        """Return the state after the driving process was asked to end."""
        return self if self.asked_us is not None else replace(self, asked_us=now_us)

    def verdict(self, now_us: int) -> str:
        """Return why the driving process must be killed, or an empty text."""
        silent_us = now_us - self.heard_us
        if self.has_beaten and self.is_moving and silent_us > _MOVING_US:
            return f"silent for {silent_us // 1000} ms while moving"
        if silent_us > (_STANDING_US if self.has_beaten else _STARTING_US):
            return f"silent for {silent_us // 1_000_000} s"
        if self.asked_us is not None and now_us - self.asked_us > _ENDING_US:
            return "asked to end, and went on"
        return ""


class Told(Protocol):
    """Who is told that the car's software lives: the service manager, if any."""

    def tell(self, what: str) -> None:
        """Pass on one state, as systemd's `sd_notify` names it."""
        ...


def supervise(
    command: Sequence[str], cutoff: Cutoff, clock: Clock, told: Told, *, stop: Callable[[], bool]
) -> int:
    """Run `command --heartbeat FD` until it ends; return its exit code, 1 where it was killed.

    `stop()` asks it to end. The motors are cut whenever and however it ended.
    """
    heard, beats = os.pipe()
    # The driving process must never wait for its supervisor.
    os.set_blocking(beats, False)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            [*command, "--heartbeat", str(beats)], pass_fds=(beats,)
        )
    except BaseException:
        os.close(heard)
        raise
    finally:
        os.close(beats)
    verdict = ""
    try:
        verdict = _listen(process, heard, clock, told, stop)
    finally:
        process.kill()
        code = process.wait()
        _cut(cutoff)
        os.close(heard)
    if verdict:
        _log.error("drive_hangs verdict=%s", verdict)
    if code < 0:
        _log.error("drive_killed signal=%s motors=cut", signal.Signals(-code).name)
    return max(code, 0) or int(code < 0)


def _listen(
    process: "subprocess.Popen[bytes]",
    heard: int,
    clock: Clock,
    told: Told,
    stop: Callable[[], bool],
) -> str:
    """Return once the driving process is gone (an empty text), or why it has to go."""
    watch = Watch(heard_us=clock.monotonic_us())
    while True:
        if select.select([heard], [], [], _LOOK_MOVING_S if watch.is_moving else _LOOK_S)[0]:
            beats = os.read(heard, 4096)
            if not beats:
                # Its end of the pipe is closed: it is dead, or as good as. No grace while moving.
                return _left(process, is_moving=watch.is_moving)
            told.tell("WATCHDOG=1" if watch.has_beaten else "READY=1")
            watch = watch.beaten(beats, clock.monotonic_us())
        now_us = clock.monotonic_us()
        if stop():
            if watch.asked_us is None:
                told.tell("STOPPING=1")
                process.terminate()
            watch = watch.asked(now_us)
        if verdict := watch.verdict(now_us):
            return verdict


def _left(process: "subprocess.Popen[bytes]", *, is_moving: bool) -> str:
    try:
        process.wait(timeout=0.02 if is_moving else 5.0)
    except subprocess.TimeoutExpired:
        return "closed its pipe and stayed"
    return ""


def _cut(cutoff: Cutoff) -> None:
    try:
        cutoff.cut()
    except HardwareError as error:
        _log.error("motors_not_cut error=%s", error)


class Heart:
    """The driving process's end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        """Beat into `descriptor`, which was inherited."""
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)
        self.is_heard = True

    def beat(self, *, is_moving: bool) -> None:
        """Say that a turn was done; `is_heard` tells afterwards whether anybody listens."""
        try:
            os.write(self._descriptor, MOVING if is_moving else STANDING)
        except BlockingIOError:
            return  # The supervisor is behind, and will read many beats at once.
        except OSError:
            if self.is_heard:
                _log.error("supervisor_gone")
            self.is_heard = False
