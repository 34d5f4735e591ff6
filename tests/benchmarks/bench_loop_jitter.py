"""How evenly the control loop turns beside a bare sleeping loop, idle, syncing and swapping models.

    python -m tests.benchmarks.bench_loop_jitter [--seconds 12] [--runs 5]

Jitter is how far a turn's length is from 33.3 ms; the figure is the 99th percentile, in ms above
that of a loop which only sleeps, in a process of its own beside each run, so that whatever else the
machine does falls on both; of five runs the median counts. Both are scheduled as deploy/systemd has
the drive (nice -10, where this user may), the others as it has the agent. The loop is the car's
own, on real time, real journal and real models; instruments answer at once, and the car parks again
and again.

- *idle*: it parks and logs, alone;
- *syncing*: another process reads a batch of waiting pairs and marks some sent, 20 times a second;
- *swapping*: another process commits the other of two full-size models every second, and nudges.

Prints one JSON object; exits with 1 where a figure is above 1 ms, or a swap costs a turn.
"""

import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import click
import msgspec
import numpy as np

from device.drive.loop import SWITCH_S, TURN_US, run
from device.hardware import Frame, Instruments, Press, RangeReading
from device.home import Home
from device.journal import Journal
from device.live import LiveSocket, Nudge
from device.settings import DeviceSettings
from device.wheel_control import Chassis
from hardware_sim.lab.report import Check
from shared.clock import SystemClock
from tests.benchmarks.models import make

LIMIT_MS = 1.0
_SCENARIOS = ("idle", "syncing", "swapping")
_WARM_UP_TURNS = 45
_DRIVE_NICE, _AGENT_NICE = -10, 5
_START_MM = 330.0
_STANDS_US = 700_000


class _Car:
    """All instruments of a car that reverses as it is driven, and is put back when it stands."""

    def __init__(self) -> None:
        self.clock = _NotingClock()
        self.presses: deque[Press] = deque()
        self._pixels = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
        self._duty = 0.0
        self._rolled_mm = self._placed_mm = 0.0
        self._moved_us = self._stood_us = self.clock.monotonic_us()
        self._range_us = 0

    @property
    def instruments(self) -> Instruments:
        return Instruments(
            clock=self.clock,
            camera=self,
            range_sensor=self,
            wheels=self,
            signals=self,
            controls=self,
        )

    def newest(self) -> Frame:
        exposed_us = (self.clock.monotonic_us() - 18_000) // TURN_US * TURN_US
        return Frame(pixels=self._pixels, exposed_us=exposed_us, camera="rear")

    def poll(self) -> RangeReading | None:
        now_us = self.clock.monotonic_us()
        if now_us - self._range_us < 33_000:
            return None
        self._range_us = now_us
        distance_mm = _START_MM - (self._rolled_mm - self._placed_mm)
        return RangeReading(range_mm=distance_mm, status="ok", measured_us=now_us - 16_000)

    def set_duty(self, left: float, right: float) -> None:
        self._roll()
        self._duty = -(left + right) / 2

    def edges(self) -> tuple[int, int]:
        self._roll()
        edges = int(self._rolled_mm / Chassis().mm_per_edge)
        return edges, edges

    def stop(self) -> None:
        self._roll()
        self._duty = 0.0

    def set_led(self, *, on: bool) -> None:
        """The lamp goes out when a manoeuvre is over: then the car is put back, and parks again."""
        now_us = self.clock.monotonic_us()
        if on:
            self._stood_us = now_us
        elif now_us - self._stood_us > _STANDS_US:
            self._stood_us, self._placed_mm = now_us, self._rolled_mm
            self.presses.append("park_by_sensor")

    def set_buzzer(self, *, on: bool) -> None:
        """Nobody listens."""

    def pressed(self) -> Press | None:
        return self.presses.popleft() if self.presses else None

    def close(self) -> None:
        """Nothing to release."""

    def _roll(self) -> None:
        now_us = self.clock.monotonic_us()
        speed_mm_s = max(0.0, self._duty - 0.06) / 0.94 * 400.0
        self._rolled_mm += speed_mm_s * (now_us - self._moved_us) / 1e6
        self._moved_us = now_us


class _NotingClock(SystemClock):
    """The machine's clock, which notes when each sleep was over."""

    def __init__(self) -> None:
        super().__init__()
        self.woken_us: list[int] = []
        self._queued_us: list[int] = []
        self._schedule = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def sleep_until_us(self, monotonic_us: int) -> None:
        super().sleep_until_us(monotonic_us)
        self.woken_us.append(self.monotonic_us())
        # The second number: nanoseconds that this thread waited for a core (sched-stats.rst).
        self._queued_us.append(int(os.pread(self._schedule, 100, 0).split()[1]) // 1000)

    def figures(self) -> "_Figures":
        """Return what the loop was like, but for its first few turns."""
        turns_us = [b - a for a, b in pairwise(self.woken_us[_WARM_UP_TURNS:])]
        queued_us = [b - a for a, b in pairwise(self._queued_us[_WARM_UP_TURNS:])]
        jitter_us = [abs(each - TURN_US) for each in turns_us]
        # A turn after a late one is short by as much, so both are late by what was waited in them.
        waited_us = [max(pair) for pair in pairwise([0, *queued_us])]
        own_us = [max(0, a - b) for a, b in zip(jitter_us, waited_us, strict=True)]
        return _Figures(
            p50_ms=_percentile_ms(jitter_us, 50),
            p95_ms=_percentile_ms(jitter_us, 95),
            p99_ms=_percentile_ms(jitter_us, 99),
            own_p99_ms=_percentile_ms(own_us, 99),
            turns=len(turns_us),
            lost=sum(each > TURN_US // 2 for each in own_us),
        )


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one loop was like.

    `own_p99_ms` leaves out what the thread waited for a core that others had; `lost` are the turns
    that were half as long again by what the loop's own process did.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    own_p99_ms: float
    turns: int
    lost: int


def _percentile_ms(values_us: list[int], percent: int) -> float:
    return round(quantiles(values_us, n=100)[percent - 1] / 1000, 3)


def _bare(seconds: float) -> _Figures:
    clock = _NotingClock()
    due_us = clock.monotonic_us()
    end_us = due_us + round(seconds * 1e6)
    while due_us < end_us:
        due_us = max(due_us + TURN_US, clock.monotonic_us())
        clock.sleep_until_us(due_us)
    return clock.figures()


def _sync(home: Home, seconds: float) -> None:
    clock = SystemClock()
    end_us = clock.monotonic_us() + round(seconds * 1e6)
    journal = Journal.open(home.journal)
    while clock.monotonic_us() < end_us:
        samples = journal.unsent_samples(40)
        journal.unsent_pictures(40)
        journal.mark(
            samples=[sample.key for sample in samples[:5]],
            pictures=[sample.key for sample in samples[:5]],
            outcome="sent",
        )
        # A batch of 128 KiB is about 40 pairs: twenty of them a second is more than a car's Wi-Fi.
        clock.sleep_until_us(clock.monotonic_us() + 50_000)
    journal.close()


def _swap(home: Home, seconds: float) -> None:
    clock = SystemClock()
    now_us = clock.monotonic_us()
    end_us = now_us + round(seconds * 1e6)
    models = sorted(path.stem for path in home.models.glob("*.tflite"))
    journal = Journal.open(home.journal)
    live = LiveSocket(home.agent_socket, home.drive_socket)
    number = 0
    while now_us < end_us:
        journal.commit_slot(models[number % 2], number)
        live.send(Nudge(what="model"))
        number += 1
        clock.sleep_until_us(now_us + 1_000_000)
        now_us = clock.monotonic_us()
    live.close()
    journal.close()


def _beside(role: str, home: Home, seconds: float) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "tests.benchmarks.bench_loop_jitter", "--role", role]
    words += ["--home", str(home.root), "--seconds", str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def _scenario(name: str, home: Home, seconds: float) -> tuple[_Figures, _Figures]:
    """Return the figures of the car's loop and of the bare one beside it."""
    car = _Car()
    others = [_beside("bare", home, seconds)]
    if name != "idle":
        others.append(_beside(name, home, seconds))
    end_us = car.clock.monotonic_us() + round(seconds * 1e6)
    run(
        home,
        car.instruments,
        DeviceSettings(source="sensor"),
        stop=lambda: car.clock.monotonic_us() > end_us,
    )
    bare = others[0].communicate()[0]
    for other in others[1:]:
        other.communicate()
    return car.clock.figures(), msgspec.json.decode(bare, type=_Figures)


def measure(seconds: float, runs: int) -> tuple[list[Check], dict[str, list[dict[str, _Figures]]]]:
    """Return the checks, and the figures behind them, run by run."""
    checks, figures = [], {}
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name) / "car")
        home.create()
        make(home.models, 1, 2)
        for scenario in _SCENARIOS:
            pairs = [_scenario(scenario, home, seconds) for _ in range(runs)]
            figures[scenario] = [{"car": car, "bare": bare} for car, bare in pairs]
            checks.append(
                Check(
                    name=f"p99 jitter of the control loop above a bare one, {scenario}",
                    value=round(median(car.p99_ms - bare.p99_ms for car, bare in pairs), 3),
                    unit="ms",
                    limit=LIMIT_MS,
                    better="lower",
                )
            )
        swapping = figures["swapping"]
        checks.append(
            Check(
                name="turns lost while models are swapped, beyond a bare loop's",
                value=float(median(max(0, run["car"].lost - run["bare"].lost) for run in swapping)),
                unit="turns",
                limit=0.0,
                better="lower",
            )
        )
    return checks, figures


def _be(niceness: int) -> None:
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


@click.command()
@click.option("--seconds", default=12.0, show_default=True, help="How long each run lasts.")
@click.option("--runs", default=5, show_default=True, help="How often each scenario is run.")
@click.option("--role", hidden=True, help="What this process does beside the loop.")
@click.option("--home", hidden=True, type=click.Path(path_type=Path), help="The car's home folder.")
def main(seconds: float, runs: int, role: str | None, home: Path | None) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    _be(_DRIVE_NICE if role in (None, "bare") else _AGENT_NICE)
    if role == "bare":
        click.echo(msgspec.json.encode(_bare(seconds)).decode())
        return
    roles: dict[str, Callable[[Home, float], None]] = {"syncing": _sync, "swapping": _swap}
    if role and home:
        roles[role](Home(home), seconds)
        return
    sys.setswitchinterval(SWITCH_S)
    checks, figures = measure(seconds, runs)
    body = {"checks": [check.as_dict() for check in checks], "figures": figures}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(check.met for check in checks) else 1)


if __name__ == "__main__":
    main()
