"""A world in one process, a drive in others, and a test that stands beside the car.

What is measured is measured by the world, on its own clock, which is the machine's monotonic one.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from hardware_sim.apart.hand import Hand
from hardware_sim.apart.wire import Seen
from shared.clock import SystemClock

T = TypeVar("T")

START_MM = 300.0
ROLLING_MM_S = -40.0
_LOOK_US = 4_000
_ANSWER_US = 1_500_000
_NICE = -10
"""As deploy/systemd has the drive, where this user may: other work falls less on what is timed."""

_WAIT_US = 30_000_000
WATCHED_US = 3_000_000


@dataclass
class Drive:
    """A drive process and, above it, its supervisor (None: nobody watches over it)."""

    pid: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def supervisor(self) -> int:
        """The supervisor's process id."""
        assert self.process.pid != self.pid, "nobody watches over this drive"
        return self.process.pid

    def said(self) -> str:
        """Return what both have said so far."""
        return self.log.read_text(errors="replace")

    def end(self) -> int:
        """Ask it to end; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@dataclass
class Apart:
    """One world process in a folder of its own."""

    folder: Path
    options: tuple[str, ...] = ()
    clock: SystemClock = field(default_factory=SystemClock)

    def __enter__(self) -> Self:
        """Start the world, and write the settings of a car that drives in it."""
        self.socket = self.folder / "world.socket"
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        (self.home / "world.toml").write_text('socket = "../world.socket"\n')
        (self.home / "device.toml").write_text('backend = "sim-world"\nhardware = "world.toml"\n')
        self.processes: list[subprocess.Popen[bytes]] = []
        options = ["--listen", str(self.socket), "--seed", "3"]
        self.world = self._start("world", "sim", "world", *options, *self.options)
        self.until(lambda: "drives reach it" in self.log("world").read_text())
        self.hand = Hand(self.socket, self.clock)
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes, also those that hang."""
        self.hand.__exit__(None, None, None)
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def log(self, name: str) -> Path:
        """Return where the process `name` writes what it says."""
        return self.folder / f"{name}.log"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `parkfleet` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "shared", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @contextmanager
    def driving(self, *, supervised: bool = True) -> Iterator[Drive]:
        """Have a car drive, for as long as the context lasts."""
        words = ["--log-level", "info", "device", "drive", "--home", str(self.home)]
        heard, beats = os.pipe()
        watched = [] if supervised else ["--heartbeat", str(beats)]
        self.log("drive").unlink(missing_ok=True)
        process = self._start("drive", *words, *watched, keep=() if supervised else (beats,))
        os.close(beats)
        log = self.log("drive")
        try:
            self.until(lambda: "drive_started" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield Drive(_child(process.pid) if supervised else process.pid, process, log)
        finally:
            os.close(heard)
            process.kill()
            process.wait()

    def roll(self) -> Seen:
        """Put the car down, have it park by its sensor, and return once it reverses.

        A car that still rests, or that this machine kept from turning in time, is asked again.
        """
        return self.until(self._has_it_park)

    def _has_it_park(self) -> Seen | None:
        self.hand.put(START_MM)
        self.hand.press("park_by_sensor")
        end_us = self.clock.monotonic_us() + _ANSWER_US
        while self.clock.monotonic_us() < end_us:
            seen = self.hand.look()
            if seen.is_driven and max(seen.speeds_mm_s) < ROLLING_MM_S:
                return seen
            self.wait_us(_LOOK_US)
        return None

    def parks(self, drive: Drive) -> None:
        """Have the car park by its sensor until it stops at its target.

        A manoeuvre that ends otherwise, as where this machine held it up, is driven again.
        """

        def is_parked() -> bool:
            ended = drive.said().count("manoeuvre_ended")
            self.roll()
            self.until(lambda: drive.said().count("manoeuvre_ended") > ended)
            return "reason=target" in drive.said()

        self.until(is_parked)

    def off_after_us(self, since_us: int) -> int | None:
        """Return how long after `since_us` the motors got no current any more, None: they do."""
        end_us = self.clock.monotonic_us() + WATCHED_US
        while self.clock.monotonic_us() < end_us:
            seen = self.hand.look()
            if not seen.is_driven:
                return seen.since_us - since_us
            self.wait_us(_LOOK_US)
        return None

    def wait_us(self, duration_us: int) -> None:
        """Let time pass."""
        self.clock.sleep_until_us(self.clock.monotonic_us() + duration_us)

    def until(self, ready: Callable[[], T | None]) -> T:
        """Return the first answer of `ready` that is neither None nor False."""
        end_us = self.clock.monotonic_us() + _WAIT_US
        while self.clock.monotonic_us() < end_us:
            answer = ready()
            if answer is not None and answer is not False:
                return answer
            self.wait_us(_LOOK_US)
        logs = [log for log in (self.log("world"), self.log("drive")) if log.exists()]
        raise AssertionError("\n".join(["nothing came of it", *(log.read_text() for log in logs)]))

    def _start(
        self, name: str, *words: str, keep: tuple[int, ...] = ()
    ) -> "subprocess.Popen[bytes]":
        with self.log(name).open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "shared", *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=keep,
            )
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        self.processes.append(process)
        return process


Strike = Callable[[Drive], None]
"""Something that befalls a drive."""


def kill(drive: Drive) -> None:
    """Kill the driving process."""
    os.kill(drive.pid, signal.SIGKILL)


def hang(drive: Drive) -> None:
    """Have the driving process hang: it lives, holds its pins, and does nothing."""
    os.kill(drive.pid, signal.SIGSTOP)


def kill_supervisor(drive: Drive) -> None:
    """Kill who watches over the driving process."""
    os.kill(drive.supervisor, signal.SIGKILL)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
