"""The demonstration: the whole loop once, from no model to a model that mended itself.

The story: two cars park by their range sensor and learn; a first model comes and they park by
camera, one of them with its network cut from then on; the floor turns red, the measured error
rises, the server sees it and has a new model trained; the car tries it beside the first and keeps
it, the error falls back; the other car's network returns, and it catches up.

Laws:
- broker, server, trainer and cars are separate processes, driven through their own command lines
  and the REST API, as a person would;
- a run on kept state starts a new deployment and goes on with the same cars and server;
- the story only waits for what was measured or reported (a digest loaded, rows stored), never for
  time to pass.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hardware_sim.lab.demo.view import CarLine, View
from hardware_sim.lab.fleet import Car, Fleet, Floor
from hardware_sim.lab.observe import Observer
from shared.clock import Clock
from shared.errors import RetryLaterError

T = TypeVar("T")

CARS = ("car-1", "car-2")
_DRIVE_S = 240.0
_TRAIN_S = 300.0
_SYNC_S = 90.0
_TRIAL = 60
"""More manoeuvres than a trial after declared harm takes: the next order ends them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is driven in each phase, in manoeuvres a car, and how fast time runs."""

    learn: int = 14
    park: int = 8
    red: int = 22
    after: int = 8
    speed: float = 10.0
    seed: int = 1

    @property
    def server_settings(self) -> dict[str, str]:
        """What the server must know: how many pairs make a first training and a retraining.

        A retraining must be sure to come of one car's red manoeuvres: up to a third of them stop
        after a few pairs where the model contradicts the sensor, and the first two come before the
        error counts as risen.
        """
        return {
            "PARKFLEET_SERVER_FIRST_TRAINING_PAIRS": str(self.learn * 2 * 20),
            "PARKFLEET_SERVER_RETRAIN_PAIRS": str(self.red * 15),
        }


@dataclass
class Phase:
    """One phase of the story: what each car's person was told, and what was loaded then."""

    name: str
    setting: str
    runs: dict[str, int] = field(default_factory=dict)
    loaded: dict[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Told:
    """What the demonstration leaves behind for its report."""

    deployment: str
    folder: Path
    phases: list[Phase]
    stages: dict[str, float]
    cars: dict[str, Car]
    logged: dict[str, int]
    stored: dict[str, int]


class Demo:
    """Tells the story on a started `Fleet`; each method is one chapter."""

    def __init__(self, fleet: Fleet, view: View, plan: Plan, clock: Clock) -> None:
        """Take the parts; nothing happens yet."""
        self._fleet, self._view, self._plan, self._clock = fleet, view, plan, clock
        self._phases: list[Phase] = []
        self._deployment = ""

    @property
    def _observer(self) -> Observer:
        return Observer(self._fleet.server, self._deployment)

    def tell(self) -> Told:
        """Tell the whole story and return what it left."""
        self._start()
        first_car, second_car = self._fleet.cars.values()
        self._learn([first_car, second_car])
        first = self._await_model([first_car, second_car], known=None, what="first model")
        second_car.cable.cut()
        self._drive("first model", {first_car: "beige", second_car: "beige"}, self._plan.park)
        self._drive("floor turns red", {first_car: "red", second_car: "red"}, self._plan.red)
        second = self._await_model([], known=first, what="retrained model")
        self._try(first_car, second, "red")
        self._drive("retrained", {first_car: "red"}, self._plan.after)
        self._drive("old floor again", {first_car: "beige"}, self._plan.after // 2)
        second_car.cable.restore()
        self._await_loaded([second_car], second, f"{second_car.name} catches up")
        self._drive("caught up", {second_car: "red"}, self._plan.after)
        logged, stored = self._await_counts()
        stages = {stage.title: stage.seconds or 0.0 for stage in self._view.scene.stages}
        return Told(
            deployment=self._deployment,
            folder=self._fleet.folder,
            phases=self._phases,
            stages=stages,
            cars=self._fleet.cars,
            logged=logged,
            stored=stored,
        )

    def _start(self) -> None:
        stage = self._view.begin("broker, fleet server and trainer start")
        self._fleet.start_broker()
        self._fleet.start_server()
        self._deployment = self._next_deployment()
        self._view.scene.address = self._fleet.url
        self._fleet.start_trainer()
        self._view.end(stage, self._fleet.url)
        stage = self._view.begin("two cars enrol and start")
        for number, name in enumerate(CARS):
            car = self._fleet.add_car(name, self._deployment)
            self._view.scene.cars[name] = CarLine(name=name)
            self._fleet.start_agent(car)
            self._fleet.start_drive(car, speed=self._plan.speed, seed=self._plan.seed + number)
        self._view.end(stage)

    def _next_deployment(self) -> str:
        names = [item["name"] for item in self._fleet.server.all("deployments")]
        number = 1 + sum(name.startswith("demo-") for name in names)
        name = f"demo-{number}"
        self._fleet.server.post(
            "deployments", {"name": name, "reason": "a new demonstration begins"}
        )
        for item in self._fleet.server.all("devices"):
            if item["device"] in CARS:
                self._fleet.server.post(
                    f"devices/{item['device']}/deployment",
                    {"deployment": name, "reason": "a new demonstration begins"},
                )
        return name

    def _learn(self, cars: list[Car]) -> None:
        self._drive(
            "learning by sensor",
            dict.fromkeys(cars, "beige"),
            self._plan.learn,
            by="park_by_sensor",
        )

    def _drive(
        self, name: str, floors: dict[Car, str], manoeuvres: int, *, by: str = "park"
    ) -> None:
        scenes = sorted(set(floors.values()))
        stage = self._view.begin(f"{name}: {manoeuvres} manoeuvres on a {scenes[0]} floor")
        phase = self._tell(name, floors, manoeuvres, by=by)
        self._wait(name, lambda: self._all_done(floors, manoeuvres), _DRIVE_S)
        self._view.end(stage)
        phase.seconds = stage.seconds or 0.0

    def _tell(self, name: str, floors: dict[Car, str], manoeuvres: int, *, by: str) -> Phase:
        """Tell each car's person what to drive next; return the phase that begins with it."""
        phase = Phase(name, min(floors.values()))
        for car, scene in floors.items():
            car.tell(Floor(scene=scene, manoeuvres=manoeuvres, by=by))
            phase.runs[car.name] = car.run
            phase.loaded[car.name] = self._fleet.journal_counts(car)["loaded"]
            self._view.scene.cars[car.name].floor = scene
        self._phases.append(phase)
        return phase

    def _all_done(self, cars: Iterable[Car], manoeuvres: int) -> bool:
        done = {car.name: int(car.progress()["done"]) for car in cars}
        for name, number in done.items():
            self._view.scene.cars[name].driven = f"{number}/{manoeuvres}"
        return min(done.values()) >= manoeuvres

    def _await_model(self, cars: list[Car], *, known: str | None, what: str) -> str:
        end = "sent, loaded" if cars else "offered"
        stage = self._view.begin(f"{what}: decided, trained, signed, {end}")
        digest = self._wait(what, lambda: self._newer_model(known), _TRAIN_S)
        self._wait_loaded(cars, digest, what)
        self._view.end(stage, f"{self._observer.versions()[digest]} {digest[:12]}")
        return digest

    def _try(self, car: Car, digest: str, scene: str) -> None:
        """Drive until the car has found the new model to be better, and drives by it."""
        stage = self._view.begin(f"on trial beside the first model, on a {scene} floor")
        phase = self._tell("on trial", {car: scene}, _TRIAL, by="park")
        self._wait_loaded([car], digest, "trial of the retrained model")
        self._view.end(stage, f"{car.progress()['done']} manoeuvres")
        phase.seconds = stage.seconds or 0.0

    def _newer_model(self, known: str | None) -> str | None:
        newest = self._observer.newest_model()
        return None if newest == known else newest

    def _await_loaded(self, cars: list[Car], digest: str, title: str) -> None:
        stage = self._view.begin(title)
        self._wait_loaded(cars, digest, title)
        self._view.end(stage, f"{self._observer.versions()[digest]} {digest[:12]}")

    def _wait_loaded(self, cars: list[Car], digest: str, what: str) -> None:
        def all_loaded() -> bool:
            devices = self._observer.devices()
            return all(devices.get(car.name, {}).get("loaded") == digest for car in cars)

        self._wait(what, all_loaded, _SYNC_S)

    def _await_counts(self) -> tuple[dict[str, int], dict[str, int]]:
        stage = self._view.begin("every pair on the cars is stored on the server")
        logged = {
            name: int(self._fleet.journal_counts(car)["pairs_logged"])
            for name, car in self._fleet.cars.items()
        }
        devices = self._observer.devices
        self._wait("all pairs stored", lambda: _stored(devices()) == logged, _SYNC_S)
        stored = _stored(devices())
        self._view.end(stage, f"{sum(stored.values())} pairs")
        return logged, stored

    def _wait(self, what: str, ready: Callable[[], T | None], timeout_s: float) -> T:
        def look() -> T | None:
            try:
                self._show()
                return ready()
            except RetryLaterError:
                return None

        return self._fleet.processes.wait_for(what, look, timeout_s=timeout_s)

    def _show(self) -> None:
        scene = self._view.scene
        scene.training = self._observer.training()
        devices, versions = self._observer.devices(), self._observer.versions()
        errors = self._observer.errors()
        for name, line in scene.cars.items():
            item = devices.get(name, {})
            line.network = "cut" if self._fleet.cars[name].cable.is_cut else "on"
            line.errors_mm = errors.get(name, [])
            line.loaded = versions.get(str(item.get("loaded")), "no model")
        stored = _stored(devices)
        # A car's report is older than its newest rows.
        logged = {
            name: max(stored[name], int(str(item["pairs_logged"] or 0)))
            for name, item in devices.items()
        }
        scene.pairs = (sum(stored.values()), sum(logged.values()))


def _stored(devices: dict[str, dict[str, object]]) -> dict[str, int]:
    return {name: int(str(item["pairs_stored"])) for name, item in devices.items()}
