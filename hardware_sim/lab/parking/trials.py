"""Parking, measured: a model drives a simulated car many times, and the world tells how it went.

Laws:
- what is judged is what only the world knows: where the car stood, how far it turned and moved,
  whether it touched anything; how a manoeuvre ended is read from the car's own journal;
- the car is the device's: its control loop, its drivers, its journal; the tester only lifts it,
  presses its button and looks at its lamp;
- every manoeuvre counts, also one that ended in a fault;
- where the car is put is drawn from the seed and the manoeuvre's number alone, so that two models,
  or a car with and one without a range sensor, are asked the same.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import numpy as np

from device.drive.loop import run
from device.home import Home
from device.journal import Journal
from device.settings import DeviceSettings
from hardware_sim.backend import SimConfiguration, SimulatedCar, open_car
from hardware_sim.world import Placement
from shared.clock import Clock
from shared.errors import UsageError
from shared.ids import sha256_hex
from shared.manifest import Manifest

UNEQUAL: Final = 0.05
"""By how much one motor is stronger than the other."""

PER_CAR: Final = 10
"""Manoeuvres before another car, with other slip and other noise, takes over."""

_PLACE_US: Final = 400_000
_PRESS_US: Final = 120_000
_ANSWER_US: Final = 1_500_000
_REST_US: Final = 700_000

_State = Literal["resting", "placed", "pressed", "driving"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model file and its manifest."""

    data: bytes
    manifest: Manifest

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Return the model at `path`, whose manifest.json lies beside it.

        Raises:
            UsageError: a file is missing, or the manifest is another model's.
        """
        manifest = path.with_name("manifest.json")
        try:
            made = cls(data=path.read_bytes(), manifest=Manifest.from_json(manifest.read_bytes()))
        except OSError as error:
            raise UsageError(
                f"cannot read {error.filename}: {error.strerror}; "
                "give a model with its manifest.json beside it"
            ) from None
        except ValueError as error:
            raise UsageError(f"{manifest}: {error}") from None
        if sha256_hex(made.data) != made.manifest.sha256:
            raise UsageError(f"{manifest} describes another file than {path}")
        return made

    def install(self, home: Home) -> None:
        """Put the model into the active slot of `home`."""
        home.create()
        home.model(self.manifest.sha256).write_bytes(self.data)
        home.manifest(self.manifest.sha256).write_bytes(self.manifest.to_json().encode())
        journal = Journal.open(home.journal)
        try:
            journal.commit_slot(self.manifest.sha256, max(1, self.manifest.release_seq))
        finally:
            journal.close()


@dataclass(frozen=True, kw_only=True)
class Parked:
    """One manoeuvre: lengths in mm along the car's axis, angles in degrees.

    `stop_mm` is the true distance at which the car came to stand, `turned_deg` the change of its
    heading, `contacts` how often it touched wall or obstacle, `reason` the journal's word.
    """

    scene: str
    start_mm: float
    stop_mm: float
    turned_deg: float
    contacts: int
    reason: str

    @property
    def moved_mm(self) -> float:
        """How far the car came."""
        return self.start_mm - self.stop_mm


def park(
    model: Model,
    scenes: Sequence[str],
    manoeuvres: int,
    *,
    seed: int,
    has_range_sensor: bool,
    real: Clock,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int], None] = lambda _done: None,
) -> list[Parked]:
    """Drive `manoeuvres` by camera, spread evenly over `scenes`; `tell` hears how many are done.

    Raises:
        UsageError: a scene is missing or wrong.
    """
    done: list[Parked] = []
    number = 0
    while len(done) < manoeuvres and not stop():
        configuration = SimConfiguration(
            scene=scenes[number % len(scenes)],
            seed=seed + number,
            speed=0.0,
            has_range_sensor=has_range_sensor,
        )
        share = math.ceil(manoeuvres / len(scenes))
        count = min(PER_CAR, share, manoeuvres - len(done))
        with TemporaryDirectory(prefix="parkfleet-park-") as folder:
            home = Home(Path(folder))
            done += _drive(model, configuration, count, home=home, real=real, stop=stop)
        number += 1
        tell(len(done))
    return done


def _drive(
    model: Model,
    configuration: SimConfiguration,
    count: int,
    *,
    home: Home,
    real: Clock,
    stop: Callable[[], bool],
) -> list[Parked]:
    model.install(home)
    return drive(configuration, count, home=home, real=real, stop=stop).parked(_reasons(home))


def drive(
    configuration: SimConfiguration,
    count: int,
    *,
    home: Home,
    real: Clock,
    stop: Callable[[], bool],
    target_mm: float | None = None,
) -> "Tester":
    """Have a car with its folder at `home` drive `count` manoeuvres; return who watched it.

    It drives by camera where a model is installed, else by range sensor; to `target_mm`, or where
    the scene says.

    Raises:
        UsageError: the scene is missing or wrong.
    """
    car = open_car(configuration, real)
    try:
        car.world.unbalance(UNEQUAL)
        tester = Tester(car, count)
        wanted_mm = car.world.scene.approach.stop_mm if target_mm is None else target_mm
        run(
            home,
            car.instruments,
            DeviceSettings(target_mm=wanted_mm),
            stop=lambda: tester.has_finished or stop(),
        )
    finally:
        car.close()
    return tester


def _reasons(home: Home) -> list[str]:
    journal = Journal.open(home.journal)
    try:
        return [end.reason for end in journal.unsent_manoeuvres(10_000)]
    finally:
        journal.close()


@dataclass(frozen=True, kw_only=True)
class _Start:
    placement: Placement
    contacts: int


class Tester:
    """Puts the car down, presses the button, waits for the lamp, writes down where it stands.

    States: `resting` -> `placed` -> `pressed` -> `driving` (the lamp is lit) -> `resting`; a press
    that lights no lamp is repeated.
    """

    def __init__(self, car: SimulatedCar, count: int) -> None:
        """Take the car for `count` manoeuvres; the tester acts whenever the world ticks."""
        self._car, self._count = car, count
        self._state: _State = "resting"
        self._since_us = car.world.now_us
        self._start: _Start | None = None
        self._ends: list[tuple[_Start, Placement, float, int]] = []
        self._rng = np.random.default_rng((car.configuration.seed, 0x7061726B))
        self._starts_mm: list[float] = []
        car.world.actors.append(self)

    @property
    def has_finished(self) -> bool:
        """Tell whether all manoeuvres were driven and written down."""
        return len(self._ends) >= self._count

    def parked(self, reasons: Sequence[str]) -> list[Parked]:
        """Return what was written down, with the `reasons` of the journal in order."""
        return [
            Parked(
                scene=self._car.world.scene.name,
                start_mm=start_mm,
                stop_mm=stop_mm,
                turned_deg=abs(end.heading_deg - start.placement.heading_deg),
                contacts=contacts,
                reason=reason,
            )
            for (start, end, stop_mm, contacts), start_mm, reason in zip(
                self._ends, self._starts_mm, reasons, strict=False
            )
        ]

    def tick(self, now_us: int) -> None:
        """Do what is due at `now_us`; called by the world."""
        waited_us = now_us - self._since_us
        match self._state:
            case "resting" if waited_us >= _REST_US and not self.has_finished:
                self._rested(now_us)
            case "placed" if waited_us >= _PLACE_US:
                self._car.pins.press(self._button)
                self._go("pressed", now_us)
            case "pressed":
                self._await_lamp(waited_us, now_us)
            case "driving" if not self._lamp_is_lit():
                self._go("resting", now_us)

    @property
    def _button(self) -> int:
        return self._car.configuration.pins.button_park

    def _rested(self, now_us: int) -> None:
        """Write down the manoeuvre that is over, and set up the next."""
        world = self._car.world
        if self._start is not None:
            contacts = world.contacts - self._start.contacts
            self._ends.append((self._start, world.placement, world.distance_mm, contacts))
            self._start = None
        if self.has_finished:
            return
        approach = world.scene.approach
        heading_deg = float(self._rng.uniform(*approach.angle_deg))
        distance_mm = float(self._rng.uniform(*approach.start_mm))
        world.place(
            Placement(
                x_mm=float(self._rng.uniform(*approach.lateral_mm)),
                z_mm=distance_mm * math.cos(math.radians(heading_deg)),
                heading_deg=heading_deg,
            )
        )
        self._start = _Start(placement=world.placement, contacts=world.contacts)
        self._starts_mm.append(world.distance_mm)
        self._go("placed", now_us)

    def _await_lamp(self, waited_us: int, now_us: int) -> None:
        if waited_us >= _PRESS_US or self._lamp_is_lit():
            self._car.pins.let_go(self._button)
        if self._lamp_is_lit():
            self._go("driving", now_us)
        elif waited_us >= _ANSWER_US:
            self._go("placed", now_us)

    def _lamp_is_lit(self) -> bool:
        return self._car.pins.level(self._car.configuration.pins.led) > 0.0

    def _go(self, state: _State, now_us: int) -> None:
        self._state, self._since_us = state, now_us
