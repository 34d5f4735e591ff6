"""The reference evaluation as a protocol of the laboratory: changes, and what must not retrain.

The reference (M. B. Fassian, "End-to-End MLOps", 2025) measured some 500 pairs before and after
each change. Here the same is driven through the real path: cars, broker, server, trainer, signed
delivery, the cars' own swap. Nobody asks for a training: each comes of what the server finds out.

Laws:
- a phase is a row of `PHASES`; what is done in each is the same;
- the story waits for what was measured or reported, never for time to pass;
- where a loop is not closed in time the phase says so, and the next one is driven all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from hardware_sim.lab.fleet import Car, Fleet, Floor
from hardware_sim.lab.observe import Observer
from hardware_sim.lab.processes import WaitTimeoutError
from hardware_sim.scene import SCENES
from shared.clock import Clock
from shared.errors import RetryLaterError

T = TypeVar("T")
Expected = Literal["retrain", "check-sensor", "nothing"]

CARS: Final = ("car-1", "car-2")
_DRIVE_S: Final = 300.0
_LOOP_S: Final = 300.0
_SETTLE_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A change: the scene (a shipped one's tables with `extra` ones), and what is to come of it.

    `before_mm` and `after_mm` are the reference's mean errors, None where it had none.
    """

    number: int
    title: str
    scene: str
    extra: str = ""
    causes: tuple[str, ...] = ()
    expected: Expected = "retrain"
    before_mm: float | None = None
    after_mm: float | None = None

    @property
    def setting(self) -> str:
        """A name for the setting."""
        return f"{self.number}-{self.scene}"


PHASES: Final = (
    Phase(
        number=1, title="beige floor, range to 250 mm", scene="beige", after_mm=6.85,
        extra="[approach]\nstart_mm = [220.0, 250.0]\n",
    ),
    Phase(
        number=2, title="range extended to 350 mm", scene="beige", causes=("label-shift",),
        before_mm=19.0, after_mm=4.83,
    ),
    Phase(
        number=3, title="green floor", scene="green", causes=("covariate-shift",),
        before_mm=178.0, after_mm=15.5,
    ),
    Phase(
        number=4, title="approach at 30 degrees", scene="angled-30",
        causes=("covariate-shift", "concept-or-sensor"), before_mm=30.0, after_mm=12.9,
    ),
    Phase(
        number=5, title="red floor, no human hand", scene="red", causes=("covariate-shift",),
        before_mm=45.5, after_mm=6.17,
    ),
    Phase(
        number=6, title="focus shift", scene="beige", expected="nothing",
        extra="[camera]\nfocus_blur_px = 1.0\n",
    ),
    Phase(
        number=7, title="range sensor off by 15 mm", scene="beige", expected="check-sensor",
        causes=("concept-or-sensor",), extra="[range_sensor]\noffset_mm = 15.0\n",
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is driven, in manoeuvres a car: two cars with 22 pairs each make some 500 pairs."""

    learn: int = 14
    measure: int = 12
    again: int = 6
    speed: float = 10.0
    seed: int = 1

    @property
    def server_settings(self) -> dict[str, str]:
        """What the server must know: a small fleet's numbers of pairs, and a short cool-down."""
        return {
            "PARKFLEET_SERVER_FIRST_TRAINING_PAIRS": str(self.learn * len(CARS) * 14),
            "PARKFLEET_SERVER_RETRAIN_PAIRS": str(self.measure * len(CARS) * 8),
            "PARKFLEET_SERVER_RETRAIN_COOL_DOWN_S": "20",
        }


@dataclass
class Measurement:
    """One stretch of driving: the runs of each car that belong to it, and the model in service."""

    setting: str
    runs: dict[str, int]
    model: str | None


@dataclass
class Done:
    """What a phase left: its measurements, verdicts, decisions and times in UTC microseconds."""

    phase: Phase
    before: Measurement | None = None
    after: Measurement | None = None
    again: list[Measurement] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    first_manoeuvre: int = 0
    times_us: dict[str, int] = field(default_factory=dict)


class Evaluation:
    """Drives the protocol on a started `Fleet`; `tell` hears what goes on."""

    def __init__(self, fleet: Fleet, plan: Plan, clock: Clock, tell: Callable[[str], None]) -> None:
        """Take the parts; nothing happens yet."""
        self._fleet, self._plan, self._clock, self._tell = fleet, plan, clock, tell
        self._cars: list[Car] = []
        self._model: str | None = None
        self.deployment = ""

    @property
    def _observer(self) -> Observer:
        return Observer(self._fleet.server, self.deployment)

    def run(self, phases: tuple[Phase, ...]) -> list[Done]:
        """Drive the phases in their order and return what each left."""
        self._start()
        done: list[Done] = []
        for phase in phases:
            self._tell(f"phase {phase.number}: {phase.title}")
            done.append(self._first(phase) if not done else self._next(phase, done))
        return done

    def _start(self) -> None:
        self._fleet.start_broker()
        self._fleet.start_server()
        names = [item["name"] for item in self._fleet.server.all("deployments")]
        number = 1 + sum(name.startswith("evaluation-") for name in names)
        self.deployment = f"evaluation-{number}"
        body = {"name": self.deployment, "reason": "an evaluation begins"}
        self._fleet.server.post("deployments", body)
        self._fleet.start_trainer()
        for place, name in enumerate(CARS):
            car = self._fleet.add_car(name, self.deployment)
            self._fleet.start_agent(car)
            self._fleet.start_drive(car, speed=self._plan.speed, seed=self._plan.seed + place)
            self._cars.append(car)

    def _first(self, phase: Phase) -> Done:
        self._drive(phase, self._plan.learn, by="park_by_sensor")
        self._model = self._loaded(None)
        done = Done(phase=phase, after=self._drive(phase, self._plan.measure))
        self._keep(done, since=0)
        return done

    def _next(self, phase: Phase, earlier: list[Done]) -> Done:
        done = Done(phase=phase)
        decided = len(self._observer.decisions())
        known = {each["id"] for each in self._verdicts()}
        done.first_manoeuvre = self._manoeuvres() + 1
        done.times_us["changed"] = self._clock.utc_us()
        done.before = self._drive(phase, self._plan.measure)
        if phase.expected == "retrain":
            self._close_the_loop(done)
        else:
            self._settle()
        done.verdicts = [each for each in self._verdicts() if each["id"] not in known]
        self._keep(done, since=decided)
        if phase.expected == "retrain":
            done.after = self._drive(phase, self._plan.measure)
            done.again = [self._drive(each.phase, self._plan.again) for each in earlier]
        return done

    def _close_the_loop(self, done: Done) -> None:
        try:
            self._model = self._loaded(self._model)
        except WaitTimeoutError as error:
            self._tell(f"  not closed: {error}")
            return
        done.times_us["loaded"] = self._clock.utc_us()

    def _settle(self) -> None:
        """Give a retraining that must not be the time to be asked for."""
        began_us = self._clock.utc_us()
        self._wait(
            "the server to decide",
            lambda: self._clock.utc_us() - began_us > _SETTLE_S * 1e6 or None,
            _SETTLE_S * 2,
        )

    def _keep(self, done: Done, *, since: int) -> None:
        done.decisions = self._observer.decisions()[since:]
        for item in self._fleet.server.all("models", deployment=self.deployment):
            if item["sha256"] == self._model:
                done.times_us["registered"] = item["registered_utc_us"]

    def _drive(self, phase: Phase, manoeuvres: int, *, by: str = "park") -> Measurement:
        self._tell(f"  {manoeuvres} manoeuvres a car in {phase.setting}")
        scene = self._scene(phase)
        for car in self._cars:
            car.tell(Floor(scene=scene, manoeuvres=manoeuvres, by=by))
        runs = {car.name: car.run for car in self._cars}
        self._wait(phase.setting, lambda: self._all_done(manoeuvres) or None, _DRIVE_S)
        self._wait("all pairs stored", lambda: self._all_stored() or None, _DRIVE_S)
        return Measurement(setting=phase.setting, runs=runs, model=self._model)

    def _scene(self, phase: Phase) -> str:
        if not phase.extra:
            return phase.scene
        # A scene's textures are named from its own folder.
        text = (SCENES / f"{phase.scene}.toml").read_text()
        text = text.replace('"textures/', f'"{SCENES}/textures/')
        path = self._fleet.folder / f"{phase.setting}.toml"
        path.write_text(f"{text}\n{phase.extra}")
        return str(path)

    def _all_done(self, manoeuvres: int) -> bool:
        return all(int(car.progress()["done"]) >= manoeuvres for car in self._cars)

    def _all_stored(self) -> bool:
        devices = self._observer.devices()
        return all(
            devices[car.name]["pairs_stored"] == self._fleet.journal_counts(car)["pairs_logged"]
            for car in self._cars
        )

    def _loaded(self, known: str | None) -> str:
        """Wait until all cars report a newer model as loaded, and return it."""

        def look() -> str | None:
            newest = self._observer.newest_model()
            devices = self._observer.devices().values()
            is_there = newest != known and all(each["loaded"] == newest for each in devices)
            return newest if is_there else None

        return self._wait("a better model on every car", look, _LOOP_S)

    def _verdicts(self) -> list[dict[str, Any]]:
        return list(self._fleet.server.all("drift", deployment=self.deployment))

    def _manoeuvres(self) -> int:
        """Return the row id of the last manoeuvre that ended."""
        every = self._fleet.server.all("manoeuvres", deployment=self.deployment)
        return max([int(item["id"]) for item in every], default=0)

    def _wait(self, what: str, ready: Callable[[], T | None], timeout_s: float) -> T:
        def look() -> T | None:
            try:
                return ready()
            except RetryLaterError:
                return None

        return self._fleet.processes.wait_for(what, look, timeout_s=timeout_s)
