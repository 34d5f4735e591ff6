"""A small world for the tests of this room: one car, one wall, instruments that look at both.

It is meant to be simple enough to believe at a glance; the product's own simulator is
`hardware_sim`. Virtual time only moves in `sleep_until_us`. The camera paints a grey picture whose
brightness is the distance, which the model in `data/` reads back.
"""

import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from device.drive.loop import run
from device.hardware import Frame, Instruments, Press, RangeReading
from device.home import Home
from device.journal import Journal
from device.settings import DeviceSettings
from device.wheel_control import Chassis
from shared.errors import HardwareError
from shared.manifest import Manifest
from shared.samples import ManoeuvreEnd, Sample

STEP_US = 1_000
FRAME_US = 33_333
CAMERA_LATENCY_US = 18_000
RANGE_US = 33_000

DATA = Path(__file__).parent / "data"
TINY = Manifest.from_json((DATA / "tiny.json").read_bytes())


@dataclass
class World:
    """Time, the car and the wall; `strength` is that of the left and the right motor."""

    distance_mm: float = 330.0
    now_us: int = 1_000_000
    strength: tuple[float, float] = (1.0, 0.96)
    noise_mm: float = 1.5
    seed: int = 0
    contacts: int = 0
    camera_bias_mm: float = 0.0
    camera_reddens: float = 0.0
    camera_freezes_us: int | None = None
    camera_ahead_from_us: int | None = None
    range_silent_from_us: int | None = None
    range_fails_from_us: int | None = None
    left_stalls_from_us: int | None = None
    duty: tuple[float, float] = (0.0, 0.0)
    speed: list[float] = field(default_factory=lambda: [0.0, 0.0])
    rolled: list[float] = field(default_factory=lambda: [0.0, 0.0])
    history: dict[int, float] = field(default_factory=dict)
    duties: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def advance(self, to_us: int) -> None:
        while self.now_us < to_us:
            self.now_us += STEP_US
            self._roll(STEP_US / 1e6)
            self.history[self.now_us] = self.distance_mm

    def distance_at(self, moment_us: int) -> float:
        step_us = moment_us - moment_us % STEP_US
        return self.history.get(step_us, self.distance_mm)

    def _roll(self, dt_s: float) -> None:
        for side in (0, 1):
            drive = max(0.0, abs(self.duty[side]) - 0.06) / 0.94 * 400.0 * self.strength[side]
            if side == 0 and is_past(self.left_stalls_from_us, self.now_us):
                drive = 0.0
            wanted = -drive if self.duty[side] < 0 else drive
            self.speed[side] += (wanted - self.speed[side]) * dt_s / 0.06
            self.rolled[side] += abs(self.speed[side]) * dt_s
        self.distance_mm += sum(self.speed) / 2 * dt_s
        if self.distance_mm <= 0:
            self.distance_mm = 0.0
            self.contacts += 1


def is_past(moment_us: int | None, now_us: int) -> bool:
    """Tell whether a fault that begins at `moment_us` is there."""
    return moment_us is not None and now_us >= moment_us


class FakeClock:
    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic_us(self) -> int:
        return self._world.now_us

    def utc_us(self) -> int:
        return 1_700_000_000_000_000 + self._world.now_us

    def is_synced(self) -> bool:
        return False

    def sleep_until_us(self, monotonic_us: int) -> None:
        self._world.advance(monotonic_us)


class FakeCamera:
    def __init__(self, world: World) -> None:
        self._world = world
        self.taken = 0

    def newest(self) -> Frame | None:
        now_us = self._world.now_us
        if self._world.camera_freezes_us is not None:
            now_us = min(now_us, self._world.camera_freezes_us)
        exposed_us = (now_us - CAMERA_LATENCY_US) // FRAME_US * FRAME_US
        if exposed_us <= 0:
            return None
        self.taken += 1
        seen_mm = self._world.distance_at(exposed_us) + self._world.camera_bias_mm
        grey = min(1.0, max(0.0, seen_mm / 350.0))
        pixels = np.empty((75, 100, 3), dtype=np.uint8)
        reddens = self._world.camera_reddens
        pixels[:] = [
            round(255 * min(1.0, max(0.0, share))) for share in (grey + reddens, grey - reddens, 0)
        ]
        if is_past(self._world.camera_ahead_from_us, self._world.now_us):
            exposed_us += 60_000_000
        return Frame(pixels=pixels, exposed_us=exposed_us, camera="rear")

    def close(self) -> None:
        pass


class FakeRange:
    def __init__(self, world: World) -> None:
        self._world = world
        self._last = 0

    def poll(self) -> RangeReading | None:
        world = self._world
        if is_past(world.range_fails_from_us, world.now_us):
            raise HardwareError("the bus is gone")
        number = world.now_us // RANGE_US
        if number <= self._last or is_past(world.range_silent_from_us, world.now_us):
            return None
        self._last = number
        measured_us = number * RANGE_US - RANGE_US // 2
        noise_mm = float(world.rng.normal(0.0, world.noise_mm))
        return RangeReading(
            range_mm=round(world.distance_at(measured_us) + noise_mm),
            status="ok",
            measured_us=measured_us,
        )

    def close(self) -> None:
        pass


class FakeWheels:
    def __init__(self, world: World) -> None:
        self._world = world

    def set_duty(self, left: float, right: float) -> None:
        self._world.duty = (left, right)
        self._world.duties.append((left, right))

    def edges(self) -> tuple[int, int]:
        left, right = (int(way / Chassis().mm_per_edge) for way in self._world.rolled)
        return left, right

    def stop(self) -> None:
        self._world.duty = (0.0, 0.0)

    def close(self) -> None:
        self.stop()


class FakeSignals:
    def __init__(self) -> None:
        self.led = self.buzzer = False
        self.beeps = 0

    def set_led(self, *, on: bool) -> None:
        self.led = on

    def set_buzzer(self, *, on: bool) -> None:
        self.beeps += on and not self.buzzer
        self.buzzer = on

    def close(self) -> None:
        self.led = self.buzzer = False


class FakeControls:
    """Presses at given moments of virtual time, in order."""

    def __init__(self, world: World, presses: dict[int, Press]) -> None:
        self._world = world
        self._presses = deque(sorted(presses.items()))

    def pressed(self) -> Press | None:
        if self._presses and self._presses[0][0] <= self._world.now_us:
            return self._presses.popleft()[1]
        return None

    def close(self) -> None:
        pass


@dataclass
class Car:
    """A car in a world, with its home folder."""

    root: Path
    world: World = field(default_factory=World)
    settings: DeviceSettings = field(default_factory=DeviceSettings)
    has_range_sensor: bool = True

    def __post_init__(self) -> None:
        self.home = Home(self.root)
        self.home.create()
        self.signals = FakeSignals()
        self.camera = FakeCamera(self.world)

    def drive(
        self,
        seconds: float,
        presses: dict[float, Press],
        turned: Callable[[bool], None] = lambda _is_moving: None,
    ) -> None:
        """Drive for `seconds`; `presses` are by seconds from now."""
        began_us = self.world.now_us
        moments = {began_us + round(at_s * 1e6): press for at_s, press in presses.items()}
        instruments = Instruments(
            clock=FakeClock(self.world),
            camera=self.camera,
            range_sensor=FakeRange(self.world) if self.has_range_sensor else None,
            wheels=FakeWheels(self.world),
            signals=self.signals,
            controls=FakeControls(self.world, moments),
        )
        end_us = began_us + round(seconds * 1e6)
        run(
            self.home,
            instruments,
            self.settings,
            stop=lambda: self.world.now_us >= end_us,
            entropy=bytes(4),
            turned=turned,
        )

    def install(self, *, commit: bool = True) -> None:
        """Put the tiny model into the home folder and, if wanted, into service."""
        shutil.copy(DATA / "tiny.tflite", self.home.model(TINY.sha256))
        shutil.copy(DATA / "tiny.json", self.home.manifest(TINY.sha256))
        if commit:
            journal = Journal.open(self.home.journal)
            journal.commit_slot(TINY.sha256, TINY.release_seq)
            journal.close()

    def samples(self) -> list[Sample]:
        """Return all samples in the journal."""
        journal = Journal.open(self.home.journal)
        found = journal.unsent_samples(10_000)
        journal.close()
        return found

    def ends(self) -> list[ManoeuvreEnd]:
        """Return all ends of manoeuvres in the journal."""
        journal = Journal.open(self.home.journal)
        found = journal.unsent_manoeuvres(10_000)
        journal.close()
        return found
