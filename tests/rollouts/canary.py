"""A model through a large fleet by a canary, with cars that are silent and cars that fail.

Laws:
- which cars are silent and which are too weak for a new model is drawn from the seed;
- a silent car is switched off from the moment when the new model is registered; where a stage is
  paused for its silence, an operator switches it on again and resumes the rollout;
- cars that are not offered the model yet sleep meanwhile, so that two cores are enough: they were
  all awake before, and are all woken at the end;
- owners let no manoeuvre data leave, so that what is counted is the rollout alone: the gates need
  none;
- what the server sends is counted on the wire, between it and the broker.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from device.journal import Journal
from fleet_server.rollout import stages
from fleet_server.rollout.stages import PLANS
from hardware_sim.fleet_sim.car import Car
from tests.rollouts.world import World, serving

OLD_MM: Final = 45.0
NEW_MM: Final = 6.0
BAD_MM: Final = 120.0
SILENT: Final = 0.05
WEAK: Final = 0.03
MODEL_BYTES: Final = 200_000
MOST_MESSAGES: Final = 10

_SPEED: Final = 25.0
_FIRST: Final = 8
"""Manoeuvres of the first trip: as many as a first model is on probation."""

_MANOEUVRES: Final = 14
"""Of each later trip: a trial of these models takes nine, once the model is here."""

_TRIPS: Final = 6
"""How often a car may wake in a stage until it has made up its mind."""


@dataclass
class Told:
    """What happened; counts of messages are of what the server sent to one car in one stage."""

    cars: int
    silent: int
    weak: int
    moves: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    model_bytes: int = 0
    connections: int = 1
    metadata_bytes: int = 0
    switched_on: int = 0
    unknown: int = 0
    on_new: int = 0
    disagreeing: int = 0
    bad_state: str = ""
    bad_offered: int = 0
    seconds: float = 0.0


def run(cars: int, *, seed: int = 1, deadline_s: float = 60.0, say: Callable[[str], None]) -> Told:
    """Take a better model through `cars` cars by a canary, and then a bad one."""
    settings = {
        "rollout_strategy": "canary",
        "rollout_deadline_s": deadline_s,
        "control_interval_s": 0.2,
    }
    with (
        TemporaryDirectory() as folder,
        serving(Path(folder), seed=seed, speed=_SPEED, settings=settings) as world,
    ):
        return _Run(world, cars, seed, deadline_s, say).tell()


class _Run:
    """One canary."""

    def __init__(
        self, world: World, cars: int, seed: int, deadline_s: float, say: Callable[[str], None]
    ) -> None:
        rng = random.Random(seed)
        names = list(range(cars))
        rng.shuffle(names)
        silent, weak = round(SILENT * cars), round(WEAK * cars)
        self._silent, self._weak = set(names[:silent]), names[silent : silent + weak]
        self._world, self._deadline_s, self._say = world, deadline_s, say
        self._began_us = world.real.monotonic_us()
        self.told = Told(cars=cars, silent=silent, weak=weak)

    def tell(self) -> Told:
        """Drive the fleet through it."""
        world, told = self._world, self.told
        world.release(error_mm=OLD_MM, size_bytes=MODEL_BYTES)
        world.enrol(told.cars, manoeuvres=_FIRST, weak=self._weak, upload="none")
        self._tell("all cars are enrolled")
        self._wake(world.cars)
        first = world.latest()
        for _ in range(_TRIPS):
            # A quiet machine drives a trip in less time than a first model takes to arrive.
            loaded = world.loaded()
            late = [car for car in world.cars if loaded[car.who.enrolment.device] != first]
            if not late:
                break
            self._wake(late)
        self._tell(f"all cars drive by the first model: {self._on(first)} of {told.cars}")
        for car in world.cars:
            car.habits = replace(car.habits, manoeuvres=_MANOEUVRES)
        sent, connects = Counter(world.sent.payload_bytes), self._connects()
        new = world.release(error_mm=NEW_MM, size_bytes=MODEL_BYTES)
        self._follow(new)
        for _ in range(2):
            loaded = world.loaded()
            self._wake([car for car in self._awake() if loaded[car.who.enrolment.device] != new])
        told.on_new = self._on(new)
        told.model_bytes = self._bytes(sent, f"releases/target/{new}/")
        told.metadata_bytes = self._bytes(sent, "releases/meta")
        # What is retained is said anew at every connection, since a broker may have lost it.
        told.connections = 1 + self._connects() - connects
        self._compare()
        self._tell(f"{told.on_new} cars drive by the new model")
        self._bad()
        told.seconds = (world.real.monotonic_us() - self._began_us) / 1e6
        return told

    def _awake(self) -> list[Car]:
        return [car for n, car in enumerate(self._world.cars) if n not in self._silent]

    def _follow(self, model: str) -> None:
        """Let the cars that are offered the model decide, until the rollout is over or stops."""
        before = Counter(self._world.sent.messages)
        stage, trips = 0, 0
        while True:
            rollout = self._wait(lambda found: found["model"] == model)
            if (rollout["state"], rollout["stage"]) != ("running", stage):
                self._count(before)
                before = Counter(self._world.sent.messages)
                self._tell(f"{rollout['state']} in stage {rollout['stage']}: {rollout['reason']}")
                stage, trips = rollout["stage"], 0
            if rollout["state"] == "running" and trips < _TRIPS:
                undecided = self._offered(rollout) - self._decided(model)
                self._wake([car for car in self._awake() if car.who.enrolment.device in undecided])
                trips += 1
            elif rollout["state"] == "running":
                time.sleep(1.0)
            elif rollout["state"] == "paused" and self._can_help(rollout):
                self._world.order("running", "the cars that were silent are switched on again")
                before, trips = Counter(self._world.sent.messages), 0
            else:
                break
        self.told.moves += [
            (each["kind"], each["evidence"])
            for each in self._world.decisions()
            if each["model"] == model and each["actor"] == "control" and "stage" in each["evidence"]
        ]

    def _offered(self, rollout: Mapping[str, Any]) -> set[str]:
        everyone = [stages.Car(car.who.enrolment.device, "waiting") for car in self._world.cars]
        return stages.offered(PLANS["canary"], rollout["id"], rollout["stage"], everyone)

    def _decided(self, model: str) -> set[str]:
        """Return the cars that drive by `model` or refused it."""
        return {
            item["device"]
            for item in self._world.operator.all("devices")
            if item["loaded"] == model or (item["update"] or "").startswith("refused")
        }

    def _can_help(self, rollout: Mapping[str, Any]) -> bool:
        """Switch the silent cars of the stage on again; tell whether there were any."""
        offered = self._offered(rollout)
        names = [car.who.enrolment.device for car in self._world.cars]
        back = {n for n in self._silent if names[n] in offered}
        self._silent -= back
        self.told.switched_on += len(back)
        return bool(back)

    def _bad(self) -> None:
        """Have a model come that is worse on every car."""
        bad = self._world.release(error_mm=BAD_MM, size_bytes=MODEL_BYTES)
        self._silent = set()
        self._follow(bad)
        rollout = self._world.rollout() or {}
        self.told.bad_state = f"{rollout.get('state')} in stage {rollout.get('stage')}"
        self.told.bad_offered = int(rollout.get("cars", 0))

    def _wake(self, cars: Sequence[Car]) -> None:
        # So many that about thirty are awake at once: a trip takes some twenty virtual seconds.
        self._world.round(cars, over_s=max(5.0, len(cars) * 1.0))

    def _wait(self, condition: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        """Return the newest rollout once the server's loop has had time to look."""
        time.sleep(0.6)
        deadline = time.monotonic() + 60.0
        while True:
            found = self._world.rollout()
            if found is not None and condition(found):
                return found
            assert time.monotonic() < deadline, "the rollout never began"
            time.sleep(0.2)

    def _count(self, before: Counter[str]) -> None:
        sent = self._world.sent
        per_car: Counter[str] = Counter()
        for topic in [*sent.on("/desired"), *sent.on("/command/")]:
            per_car[topic.split("/")[3]] += sent.messages[topic] - before[topic]
        self.told.messages.append(max(per_car.values(), default=0))

    def _bytes(self, before: Counter[str], part: str) -> int:
        sent = self._world.sent
        return sum(sent.payload_bytes[each] - before[each] for each in sent.on(part))

    def _connects(self) -> int:
        """Return how often the process that speaks for the server has connected."""
        connects = self._world.sent.connects
        return sum(count for name, count in connects.items() if name.endswith("control"))

    def _on(self, model: str | None) -> int:
        return sum(each == model for each in self._world.loaded().values())

    def _compare(self) -> None:
        """Compare what the server knows of each car with what lies in its journal."""
        known = self._world.loaded()
        for car in self._world.cars:
            journal = Journal.open(car.who.home.journal)
            held = journal.active_model()
            journal.close()
            said = known[car.who.enrolment.device]
            self.told.unknown += said is None
            self.told.disagreeing += said != held

    def _tell(self, what: str) -> None:
        seconds = (self._world.real.monotonic_us() - self._began_us) / 1e6
        self._say(f"{seconds:6.0f} s  {what}")
