"""The cars of an evaluation: what they are told to drive, and what is waited for.

Laws:
- cars drive as fast as the machine computes, and rest in real time;
- an order is done when every car has driven it and every pair of it is stored on the server;
- what a car runs is what it reports, never what it was told;
- what was measured belongs to the model that was last seen on every car.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from hardware_sim.lab.evaluation.phases import Phase
from hardware_sim.lab.evaluation.stretches import Measurement, Tell
from hardware_sim.lab.fleet import Car, Fleet, Floor
from hardware_sim.lab.observe import Observer
from hardware_sim.scene import SCENES
from shared.errors import RetryLaterError
from shared.ids import sha256_hex

T = TypeVar("T")

DRIVE_S: Final = 600.0
_LOADED: Final = "a better model on every car"
_MANY: Final = 100
"""More manoeuvres than anything takes that they are driven for: the next order ends them."""


class Crew:
    """The cars of one deployment on a started `Fleet`; `tell` hears what they drive."""

    def __init__(self, fleet: Fleet, deployment: str, tell: Tell, seed: int) -> None:
        """Begin without a car; `seed` draws each one's motors, noise and places."""
        self._fleet, self._tell, self._seed = fleet, tell, seed
        self.deployment = deployment
        self.observer = Observer(fleet.server, deployment)
        self.model = self.observer.newest_model()
        self._cars: list[Car] = []

    @property
    def names(self) -> list[str]:
        """The cars in their order."""
        return [car.name for car in self._cars]

    def add(self, name: str) -> None:
        """Enrol a car and start its two processes."""
        car = self._fleet.add_car(name, self.deployment)
        self._fleet.start_agent(car)
        self._fleet.start_drive(car, speed=0.0, seed=self._seed * 100 + len(self._cars))
        self._cars.append(car)

    def move(self, deployment: str, reason: str) -> None:
        """Put the cars into another deployment, as an operator does."""
        for car in self._cars:
            body = {"deployment": deployment, "reason": reason}
            self._fleet.server.post(f"devices/{car.name}/deployment", body)
        self.deployment = deployment
        self.observer = Observer(self._fleet.server, deployment)

    def retire(self, kept: int) -> None:
        """End the processes of all but the first `kept` cars."""
        for car in self._cars[kept:]:
            self._fleet.processes.stop(f"{car.name}-drive")
            self._fleet.processes.stop(f"{car.name}-agent")
        del self._cars[kept:]

    def drive(
        self, what: str, phase: Phase, manoeuvres: int, *, by: str = "park", extra: str = ""
    ) -> Measurement:
        """Have every car drive in the scene of a phase, as `order` does."""
        scene = scene_of(phase, extra or phase.extra, self._fleet.folder)
        scenes = dict.fromkeys(self.names, scene)
        return self.order(f"{what}: {phase.title}", phase.setting, scenes, manoeuvres, by=by)

    def order(
        self, what: str, setting: str, scenes: dict[str, str], manoeuvres: int, *, by: str = "park"
    ) -> Measurement:
        """Have every car drive, and wait until all its pairs are stored."""
        self._tell.stage(what, manoeuvres * len(self._cars))
        for car in self._cars:
            car.tell(Floor(scene=scenes[car.name], manoeuvres=manoeuvres, by=by))
        runs = {car.name: [car.run] for car in self._cars}
        self.wait(what, lambda: self._all_done(manoeuvres), DRIVE_S)
        logged = {car.name: self._fleet.journal_counts(car)["pairs_logged"] for car in self._cars}
        self.wait("all pairs stored", lambda: self._all_stored(logged), DRIVE_S)
        return Measurement(setting=setting, runs=runs, model=self.model)

    def drive_until(
        self, phase: Phase, what: str, ready: Callable[[], T | None], timeout_s: float
    ) -> T:
        """Have the cars drive on in the scene of a phase, and return the first answer of `ready`.

        Raises:
            WaitTimeoutError: nothing came within `timeout_s`; the cars drive on.
        """
        scene = scene_of(phase, phase.extra, self._fleet.folder)
        for car in self._cars:
            car.tell(Floor(scene=scene, manoeuvres=_MANY))
        return self.wait(what, ready, timeout_s)

    def stand(self) -> None:
        """Have the cars rest."""
        for car in self._cars:
            car.tell(Floor(scene="beige", manoeuvres=0))

    def _all_done(self, manoeuvres: int) -> bool:
        driven = [int(car.progress()["done"]) for car in self._cars]
        self._tell.driven(sum(driven))
        return min(driven) >= manoeuvres

    def _all_stored(self, logged: dict[str, int]) -> bool:
        devices = self.observer.devices()
        return all(devices[name]["pairs_stored"] == count for name, count in logged.items())

    def _devices(self) -> list[dict[str, Any]]:
        devices = self.observer.devices()
        return [devices[car.name] for car in self._cars]

    def all_run(self, model: str | None) -> bool:
        """Tell whether every car reports `model` as loaded."""
        return all(each["loaded"] == model for each in self._devices())

    def all_try(self) -> bool:
        """Tell whether every car has the newest model beside or in place of the former."""
        newest = self.observer.newest_model()
        return all(
            each["loaded"] == newest or str(each["update"]).startswith("shadowing")
            for each in self._devices()
        )

    def drive_until_loaded(self, phase: Phase, timeout_s: float) -> None:
        """Have the cars drive on until all report a model newer than the one in service.

        Raises:
            WaitTimeoutError: they did not within `timeout_s`.
        """
        self.model = self.drive_until(phase, _LOADED, self._look_for(self.model), timeout_s)

    def wait_for_first(self, timeout_s: float) -> None:
        """Wait until all cars, which had none, report the newest model as loaded.

        Raises:
            WaitTimeoutError: they did not within `timeout_s`.
        """
        self.model = self.wait(_LOADED, self._look_for(None), timeout_s)

    def _look_for(self, known: str | None) -> Callable[[], str | None]:
        def look() -> str | None:
            newest = self.observer.newest_model()
            return newest if newest != known and self.all_run(newest) else None

        return look

    def take_what_runs(self) -> None:
        """Take the newest model as the one in service, where every car runs it."""
        newest = self.observer.newest_model()
        if self.all_run(newest):
            self.model = newest or self.model

    def wait(self, what: str, ready: Callable[[], T | None], timeout_s: float) -> T:
        """Return the first answer of `ready`; a server that is away is asked again.

        Raises:
            WaitTimeoutError: nothing came within `timeout_s`.
        """

        def look() -> T | None:
            try:
                return ready()
            except RetryLaterError:
                return None

        return self._fleet.processes.wait_for(what, look, timeout_s=timeout_s)


def scene_of(phase: Phase, extra: str, folder: Path) -> str:
    """Return the name of a shipped scene, or the file in `folder` of one with `extra` tables."""
    if not extra:
        return phase.scene
    # A scene's textures are named from its own folder.
    text = (SCENES / f"{phase.scene}.toml").read_text()
    text = text.replace('"textures/', f'"{SCENES}/textures/')
    path = folder / f"{phase.setting}-{sha256_hex(extra.encode())[:8]}.toml"
    path.write_text(f"{text}\n{extra}")
    return str(path)
