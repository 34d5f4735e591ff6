"""The person beside a car whose answers the test decides."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from device.drivers.gpio import GpioControls, GpioSignals, Pins
from device.hardware import Press
from hardware_sim.person import Person
from hardware_sim.pins import WorldPinFactory
from hardware_sim.script import Desk, Progress
from hardware_sim.world import Placement, World
from tests.hardware_sim.worlds import a_world, let_pass

pytestmark = pytest.mark.slow

_PINS = Pins()
_LIT_US = 500_000

Answer = Callable[[Press], float | None]


class _Car:
    """A car that lights its lamp for half a second and then stands where `answer` says.

    An answer of None is a car that does not hear the button.
    """

    def __init__(self, world: World, factory: WorldPinFactory, answer: Answer) -> None:
        self.presses: list[Press] = []
        self.starts: list[Placement] = []
        self._world = world
        self._answer = answer
        self._signals = GpioSignals(_PINS, factory)
        self._controls = GpioControls(_PINS, factory)
        self._ends_us = 0
        world.actors.append(self)

    def tick(self, now_us: int) -> None:
        press = self._controls.pressed()
        if press is not None:
            self.presses.append(press)
            self.starts.append(self._world.placement)
            z_mm = self._answer(press)
            if z_mm is None:
                return
            self._signals.set_led(on=True)
            self._ends_us = now_us + _LIT_US
            self._world.place(Placement(x_mm=0.0, z_mm=z_mm, heading_deg=0.0))
        if self._ends_us and now_us >= self._ends_us:
            self._signals.set_led(on=False)
            self._ends_us = 0


def _scene(
    folder: Path, order: str, answer: Answer, loaded: Callable[[], str | None] = lambda: None
) -> tuple[World, Person, _Car]:
    world = a_world()
    factory = WorldPinFactory(world, _PINS)
    script = folder / "script.toml"
    script.write_text(order)
    car = _Car(world, factory, answer)
    return world, Person(world, factory, _PINS, Desk(script), seed=3, loaded=loaded), car


def _order(manoeuvres: int, run: int = 1, rest: str = "") -> str:
    return f'run = {run}\nscene = "beige"\nmanoeuvres = {manoeuvres}\n{rest}'


def _progress(folder: Path) -> Progress:
    return msgspec.json.decode((folder / "progress.json").read_bytes(), type=Progress)


def test_a_person_drives_what_was_ordered_and_then_waits(tmp_path: Path) -> None:
    world, person, car = _scene(tmp_path, _order(3), lambda _: 41.0)
    let_pass(world, 12.0)
    assert person.has_finished
    assert car.presses == ["park"] * 3
    assert _progress(tmp_path) == Progress(run=1, done=3, parked=3, state="finished")


def test_the_car_is_put_within_the_scenes_approach_at_places_of_the_seed(tmp_path: Path) -> None:
    starts = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        world, _, car = _scene(folder, _order(4), lambda _: 40.0)
        let_pass(world, 14.0)
        starts.append(car.starts)
        assert all(299.0 <= place.distance_mm <= 350.0 for place in car.starts)
        assert all(abs(place.heading_deg) <= 3.0 for place in car.starts)
    assert starts[0] == starts[1]
    assert len(set(starts[0])) == 4


def test_after_a_failure_the_sensor_takes_turns_and_then_the_model_again(tmp_path: Path) -> None:
    rest = "sensor_turns = 2\n"
    world, _, car = _scene(tmp_path, _order(5, rest=rest), lambda p: 200.0 if p == "park" else 40.0)
    let_pass(world, 20.0)
    by_sensor: Press = "park_by_sensor"
    assert car.presses == ["park", by_sensor, by_sensor, "park", by_sensor]
    assert _progress(tmp_path).parked == 3


def test_a_new_model_is_tried_at_once(tmp_path: Path) -> None:
    models = ["old"]
    world, _, car = _scene(
        tmp_path, _order(4), lambda p: 200.0 if p == "park" else 40.0, lambda: models[-1]
    )
    while len(car.presses) < 2:
        let_pass(world, 0.1)
    models.append("new")
    while len(car.presses) < 3:
        let_pass(world, 0.1)
    assert car.presses == ["park", "park_by_sensor", "park"]


def test_without_retry_a_failure_changes_nothing(tmp_path: Path) -> None:
    world, _, car = _scene(tmp_path, _order(3, rest="retry_by_sensor = false\n"), lambda _: 200.0)
    let_pass(world, 12.0)
    assert car.presses == ["park"] * 3
    assert _progress(tmp_path).parked == 0


def test_a_press_that_lights_no_lamp_is_repeated_and_counted(tmp_path: Path) -> None:
    answers = iter([None, None, 40.0])
    world, _, car = _scene(tmp_path, _order(1), lambda _: next(answers))
    let_pass(world, 10.0)
    assert car.presses == ["park"] * 3
    told = _progress(tmp_path)
    assert (told.done, told.parked, told.refused) == (1, 1, 2)


def test_a_new_order_is_taken_up_and_a_finished_one_left_alone(tmp_path: Path) -> None:
    world, person, car = _scene(tmp_path, _order(1), lambda _: 40.0)
    let_pass(world, 6.0)
    assert person.has_finished
    rest = 'by = "park_by_sensor"\n'
    (tmp_path / "script.toml").write_text(_order(2, run=2, rest=rest).replace("beige", "red"))
    let_pass(world, 8.0)
    assert car.presses == ["park", "park_by_sensor", "park_by_sensor"]
    assert world.scene.name == "red"
    assert _progress(tmp_path).run == 2


def test_truth_is_noted_for_frames_of_a_manoeuvre_only(tmp_path: Path) -> None:
    world, person, _ = _scene(tmp_path, _order(1), lambda _: 40.0)
    noted = 0
    for _ in range(60):
        let_pass(world, 0.1)
        person.exposed(world.now_us)
        noted += 1
    rows = (tmp_path / "truth.csv").read_text().splitlines()[1:]
    assert 0 < len(rows) < noted
    assert {row.split(",")[2] for row in rows} == {"1"}
    assert float(rows[-1].split(",")[1]) == 40.0
