"""A recording driven through a car: the device's own control loop and journal, on virtual time.

Laws:
- every picture that the recording holds becomes one pair in the journal, a recorded manoeuvre one
  manoeuvre of the car; what did not is counted, and the replay says so;
- since pictures do not react to wheels, no distance ends a manoeuvre: the car's state machine sees
  the recorded ranges, its limits are out of reach, and the recording's end presses stop;
- time waits for the journal, so that a slow disk costs time and no pair.

A model that the car has in service answers every picture, and its estimates are logged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from device.agent.enrolment import load_enrolment
from device.drive.loop import run
from device.home import Home
from device.journal import Journal
from device.parking import Rules
from device.wheel_control import Chassis
from hardware_sim.recorded import Recording, Skipped
from hardware_sim.replay import Tape, TapeClock, load_task, open_tape
from shared.clock import Clock
from shared.errors import UsageError
from shared.task import WALL_DISTANCE, Task

_FAR: Final = 10**9
_NEVER_US: Final = 10**15

RULES: Final = Rules(
    target_mm=-_FAR,
    minimum_mm=-_FAR,
    contradiction_mm=_FAR,
    wander_mm=_FAR,
    wander_most_mm=_FAR,
    sigma_mm=_FAR,
    frame_age_us=_NEVER_US,
    reading_age_us=_NEVER_US,
    manoeuvre_us=_NEVER_US,
)
"""Parking's limits, all out of reach but the way to get going."""

_PAIR_HZ: Final = 30.0
"""As often as settings allow: each picture of a recording is one that somebody chose to keep."""

_AHEAD: Final = 100
_SETTLED_US: Final = 300_000
_PATIENCE_US: Final = 10_000_000
_LOOK_US: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class Driven:
    """One recorded manoeuvre and the car's `number` for it in the boot of the replay."""

    name: str
    number: int
    pictures: int


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What became of a recording; `lost` pictures came into no journal."""

    device: str
    deployment: str
    boot: str
    pictures: int
    pairs: int
    lost: int
    manoeuvres: tuple[Driven, ...]
    skipped: tuple[Skipped, ...]


def task_of(folder: Path, task_file: Path | None) -> Task:
    """Return the task in `task_file`, or the one that the car in `folder` is enrolled for.

    Raises:
        UsageError: the file describes no task, or another one than the car's.
    """
    home = Home(folder)
    own = load_enrolment(home).task if home.enrolment.exists() else None
    if task_file is None:
        return own or WALL_DISTANCE
    task = load_task(task_file)
    if own is not None and task != own:
        raise UsageError(
            f"{task_file} is not the task that the car in {folder} is enrolled for, {own.name}"
        )
    return task


def replay(
    folder: Path,
    recording: Recording,
    *,
    task: Task,
    deployment: str,
    real: Clock,
    speed: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int], None] = lambda _pictures: None,
) -> Replayed:
    """Drive `recording` through the car in `folder`; `tell` hears how many pictures were shown.

    Raises:
        UsageError: the car is enrolled in another deployment, or its home cannot be used.
    """
    home = Home(folder)
    home.create()
    # The rollers' chassis, not the car's own: what turns here are they.
    settings = msgspec.structs.replace(
        home.settings(), deployment=deployment, pair_hz=_PAIR_HZ, chassis=Chassis()
    )
    clock = TapeClock(real, speed=speed)
    tape = Tape.of(recording, start_us=clock.monotonic_us())
    journal = Journal.open(home.journal)
    try:
        _require(home, journal, deployment)
        before = journal.counts().pairs_logged
        pace = _Pace(journal, tape, clock, real)
        shown = 0

        def is_over() -> bool:
            nonlocal shown
            pace.wait()
            if stop() or clock.monotonic_us() >= tape.end_us:
                return True
            # A turn of the loop follows, which sees what is shown now.
            shown = tape.shown_by(clock.monotonic_us())
            tell(shown)
            return False

        instruments = open_tape(tape, clock)
        try:
            run(home, instruments, settings, stop=is_over, task=task, rules=RULES)
        finally:
            instruments.close()
        pairs = journal.counts().pairs_logged - before
        state = journal.drive_state()
        return Replayed(
            device=home.identity(settings).device,
            deployment=deployment,
            boot=state.boot if state else "",
            pictures=recording.pictures,
            pairs=pairs,
            lost=shown - pairs,
            manoeuvres=_driven(recording, shown),
            skipped=recording.skipped,
        )
    finally:
        journal.close()


def _require(home: Home, journal: Journal, deployment: str) -> None:
    desired = journal.desired()
    known = desired.deployment if desired else None
    if known is None and home.enrolment.exists():
        known = home.identity(home.settings()).deployment
    if known not in (None, deployment):
        raise UsageError(
            f"the car in {home.root} belongs to deployment {known}, not {deployment}: "
            f"give --deployment {known}, or another --home"
        )


def _driven(recording: Recording, shown: int) -> tuple[Driven, ...]:
    driven, left = [], shown
    for number, manoeuvre in enumerate(recording.manoeuvres, start=1):
        pictures = min(left, len(manoeuvre.shots))
        if pictures == 0:
            break
        driven.append(Driven(name=manoeuvre.name, number=number, pictures=pictures))
        left -= pictures
    return tuple(driven)


class _Pace:
    """Keeps the tape from running ahead of the journal's writer, whose queue drops what is late."""

    def __init__(self, journal: Journal, tape: Tape, clock: Clock, real: Clock) -> None:
        self._journal, self._tape, self._clock, self._real = journal, tape, clock, real
        self._before = journal.counts().pairs_logged
        self._landed = 0

    def wait(self) -> None:
        """Return when all but the last few pictures have landed, or after patience ran out."""
        due = self._tape.shown_by(self._clock.monotonic_us() - _SETTLED_US)
        if due - self._landed < _AHEAD:
            return
        give_up_us = self._real.monotonic_us() + _PATIENCE_US
        while self._real.monotonic_us() < give_up_us:
            if self._journal.counts().pairs_logged - self._before >= due:
                break
            self._real.sleep_until_us(self._real.monotonic_us() + _LOOK_US)
        # What is still missing is lost; counting it as landed lets the tape go on.
        self._landed = due
