"""The backend `replay`: recorded pictures and labels in place of camera and range sensor.

Laws:
- what is seen at a moment depends on the recording and on that moment alone: pictures and ranges do
  not react to the wheels, which turn on rollers;
- a picture and its label are of the same instant, so that the car pairs them unchanged;
- every picture is shown for longer than a turn of the control loop lasts; pictures that were taken
  closer together are spread, and nothing else about their times changes;
- the person's part is on the tape as well: a press starts each manoeuvre, another ends it.

The configuration file is the TOML form of `ReplayConfiguration`. Driven by the car's own rules a
manoeuvre ends where those rules end it; `hardware_sim.replaying` plays each to its end.
"""

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from device.hardware import Frame, Instruments, Press, RangeReading
from device.wheel_control import Chassis
from hardware_sim import recorded
from hardware_sim.recorded import Recording, Shot
from shared import settings
from shared.clock import Clock, SystemClock
from shared.errors import HardwareError, RefusedError, UsageError
from shared.ids import Name
from shared.task import WALL_DISTANCE, Task

CAMERA: Final = "recorded"
_PREFIX: Final = "PARKFLEET_REPLAY"

_BEGIN_US: Final = 50_000
"""From the opening to the first press."""

_LEAD_US: Final = 100_000
"""From the press to the first picture, and from the last one to the press that ends."""

_REST_US: Final = 800_000
"""Between two manoeuvres: the car rests 0.3 s before it answers again."""

_SHOWN_US: Final = 50_000
"""The shortest time that a picture is shown: one and a half turns at 30 Hz."""

_SHORTEST_SLEEP_US: Final = 1_000


class ReplayConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recording to be driven.

    `data` is a folder with `images/` and `labels.csv`, relative to this file. `task` is a TOML file
    (empty: wall-distance). `speed` is how many seconds of the recording pass in a real one, 0 for
    as many as the machine can compute.
    """

    data: str
    task: str = ""
    speed: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 1.0
    camera: Name = CAMERA


def load_task(path: Path) -> Task:
    """Return the task in a TOML file: name, label, unit, low, high, picture_width, picture_height.

    Raises:
        UsageError: the file is missing or describes no task.
    """
    task = settings.convert(settings.read_toml(path), Task, source=str(path))
    if task.span <= 0 or not 16 <= min(task.picture_width, task.picture_height) <= 1024:
        raise UsageError(f"{path}: needs low < high and pictures of 16 to 1024 pixels a side")
    return task


class TapeClock:
    """Time that passes in `sleep_until_us` alone; it starts at the real UTC in microseconds."""

    def __init__(self, real: Clock, *, speed: float) -> None:
        """Pass `speed` seconds in a real one, 0 for as many as can be computed."""
        self._real, self._speed = real, speed
        self._now_us = self._start_us = real.utc_us()
        self._real_start_us = real.monotonic_us()

    def monotonic_us(self) -> int:
        """Return microseconds; the start is the real UTC of the opening."""
        return self._now_us

    def utc_us(self) -> int:
        """Return the same as `monotonic_us`."""
        return self._now_us

    def is_synced(self) -> bool:
        """Tell whether a second of the tape lasts a real one."""
        return self._speed == 1.0

    def sleep_until_us(self, monotonic_us: int) -> None:
        """Go on to the given moment, not faster than the pace allows."""
        self._now_us = max(self._now_us, monotonic_us)
        if self._speed == 0.0:
            return
        due_us = self._real_start_us + int((self._now_us - self._start_us) / self._speed)
        if due_us - self._real.monotonic_us() > _SHORTEST_SLEEP_US:
            self._real.sleep_until_us(due_us)


@dataclass(frozen=True)
class Tape:
    """A recording laid out in time: shots and presses in order, each list with its moments."""

    shots: tuple[Shot, ...]
    shown_us: tuple[int, ...]
    presses: tuple[tuple[int, Press], ...]
    end_us: int

    @classmethod
    def of(cls, recording: Recording, *, start_us: int) -> "Tape":
        """Return `recording` as it plays from `start_us` on, one manoeuvre after the other."""
        shots: list[Shot] = []
        shown_us: list[int] = []
        presses: list[tuple[int, Press]] = []
        now_us = start_us + _BEGIN_US
        for manoeuvre in recording.manoeuvres:
            presses.append((now_us, "park_by_sensor"))
            begin_us = last_us = now_us + _LEAD_US
            for number, shot in enumerate(manoeuvre.shots):
                earliest_us = last_us + _SHOWN_US if number else begin_us
                last_us = max(begin_us + shot.at_us, earliest_us)
                shots.append(shot)
                shown_us.append(last_us)
            presses.append((last_us + _LEAD_US, "stop"))
            now_us = last_us + _LEAD_US + _REST_US
        return cls(tuple(shots), tuple(shown_us), tuple(presses), now_us)

    def shown_by(self, moment_us: int) -> int:
        """Return how many pictures were exposed before `moment_us`."""
        return bisect_left(self.shown_us, moment_us)


class RecordedCamera:
    """Shows the tape's pictures; each is unpacked when it is asked for."""

    def __init__(self, tape: Tape, clock: Clock, name: str) -> None:
        """Show `tape` as the camera `name`."""
        self._tape, self._clock, self._name = tape, clock, name
        self._frame: tuple[int, Frame] | None = None

    def newest(self) -> Frame | None:
        """Return the picture that is shown now; None before the first."""
        shown = self._tape.shown_by(self._clock.monotonic_us())
        if shown == 0:
            return None
        if self._frame is None or self._frame[0] != shown:
            shot = self._tape.shots[shown - 1]
            try:
                pixels = recorded.load(shot)
            except RefusedError as error:
                raise HardwareError(f"recorded picture: {error}") from None
            exposed_us = self._tape.shown_us[shown - 1]
            frame = Frame(pixels=pixels, exposed_us=exposed_us, camera=self._name)
            self._frame = (shown, frame)
        return self._frame[1]

    def close(self) -> None:
        """Let go of the last picture."""
        self._frame = None


class RecordedRange:
    """Tells the tape's labels, each once and in order."""

    def __init__(self, tape: Tape, clock: Clock) -> None:
        """Start before the first label."""
        self._tape, self._clock = tape, clock
        self._told = 0

    def poll(self) -> RangeReading | None:
        """Return the oldest label that was not told yet, or None."""
        if self._told >= self._tape.shown_by(self._clock.monotonic_us()):
            return None
        number, self._told = self._told, self._told + 1
        return RangeReading(
            range_mm=self._tape.shots[number].label,
            status="ok",
            measured_us=self._tape.shown_us[number],
        )

    def close(self) -> None:
        """Do nothing: there is no bus."""


class Rollers:
    """Wheels off the ground: they turn as they are driven, and the car stays where it is."""

    def __init__(self, clock: Clock, chassis: Chassis) -> None:
        """Start at rest."""
        self._clock, self._chassis = clock, chassis
        self._duty = (0.0, 0.0)
        self._turned = [0.0, 0.0]
        self._at_us = clock.monotonic_us()

    def set_duty(self, left: float, right: float) -> None:
        """Turn each wheel at the speed that the car's settings expect of its duty."""
        self._roll()
        self._duty = (left, right)

    def edges(self) -> tuple[int, int]:
        """Return the edges counted so far."""
        self._roll()
        return int(self._turned[0]), int(self._turned[1])

    def stop(self) -> None:
        """Stand at once."""
        self.set_duty(0.0, 0.0)

    def close(self) -> None:
        """Stand."""
        self.stop()

    def _roll(self) -> None:
        now_us = self._clock.monotonic_us()
        seconds, self._at_us = (now_us - self._at_us) / 1e6, now_us
        chassis = self._chassis
        for side, duty in enumerate(self._duty):
            drive = max(0.0, abs(duty) - chassis.dead_duty) / (1.0 - chassis.dead_duty)
            speed_mm_s = drive * chassis.full_speed_mm_s
            self._turned[side] += speed_mm_s * seconds / chassis.mm_per_edge


class Dark:
    """Lamp and buzzer that nobody sees or hears."""

    def set_led(self, *, on: bool) -> None:
        """Do nothing."""

    def set_buzzer(self, *, on: bool) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class RecordedPerson:
    """Presses the buttons as the tape says."""

    def __init__(self, tape: Tape, clock: Clock) -> None:
        """Start before the first press."""
        self._tape, self._clock = tape, clock
        self._done = 0

    def pressed(self) -> Press | None:
        """Return the oldest press that is due and was not returned yet, or None."""
        if self._done == len(self._tape.presses):
            return None
        due_us, press = self._tape.presses[self._done]
        if due_us > self._clock.monotonic_us():
            return None
        self._done += 1
        return press

    def close(self) -> None:
        """Do nothing: there are no pins."""


def open_tape(tape: Tape, clock: Clock, *, camera: str = CAMERA) -> Instruments:
    """Return instruments that show `tape`."""
    return Instruments(
        clock=clock,
        camera=RecordedCamera(tape, clock, camera),
        range_sensor=RecordedRange(tape, clock),
        wheels=Rollers(clock, Chassis()),
        signals=Dark(),
        controls=RecordedPerson(tape, clock),
        is_recorded=True,
    )


def open_instruments(configuration: Path | None) -> Instruments:
    """Open a recording as a car's instruments; the entry point `replay`.

    Raises:
        UsageError: the configuration, its task or its recording is wrong.
    """
    if configuration is None:
        raise UsageError(
            "the backend 'replay' needs a file that says what to replay: "
            "name it as `hardware` in device.toml"
        )
    wanted = settings.load(ReplayConfiguration, configuration, prefix=_PREFIX)
    task = load_task(configuration.parent / wanted.task) if wanted.task else WALL_DISTANCE
    recording = recorded.read(configuration.parent / wanted.data, task)
    clock = TapeClock(SystemClock(), speed=wanted.speed)
    tape = Tape.of(recording, start_us=clock.monotonic_us())
    return open_tape(tape, clock, camera=wanted.camera)
