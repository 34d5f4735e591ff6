"""Power cuts under files: a car's models and release metadata, and the server's releases.

Laws:
- the power is cut before every operation on a file, as `tests.device.update.power_cuts` finds them;
- each disk is that of a car or a server that starts again, serves, and goes on with its work.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, get_args

from device.agent.releases import ReleaseClient
from device.home import Home
from shared.errors import ParkfleetError
from tests.chaos.power_found import Tried
from tests.device.agent.world import Fleet, SettableClock, enrolled_home
from tests.device.update.cut_updates import SHA_NEW, SHA_OLD, Update, Way, cuts_of, serves, state
from tests.device.update.power_cuts import watched

Tell = Callable[[], None]

_DAY_US: Final = 86_400 * 1_000_000
_QUICK: Final = 4
"""Of so many disks one is tried where few are asked for."""


def updates(folder: Path, *, is_quick: bool, tell: Tell) -> Tried:
    """Cut the power at every operation of a car's update, in each way that a model comes."""
    found = Tried(what="a car's models and metadata")
    clock = SettableClock()
    for way in get_args(Way):
        update = Update(fleet=Fleet(root=folder / way / "fleet", clock=clock), clock=clock, way=way)
        cuts = cuts_of(update, folder / way)
        found.operations += cuts.operations
        for place in [*cuts.states.values()][:: _QUICK if is_quick else 1]:
            found.states += 1
            found.unsure += place.name.endswith(("-lost", "-torn"))
            _judge_car(update, place, found)
            shutil.rmtree(place)
            tell()
    return found


def _judge_car(update: Update, place: Path, found: Tried) -> None:
    """Start the car whose disk lies at `place`: it serves, and the update ends."""
    try:
        car = update.car(Home(place))
        served = serves(car.home, car)
    except ParkfleetError:
        found.bare += 1
        return
    with closing(car.journal):
        found.bare += served not in (
            (None, SHA_NEW) if update.way == "first" else (SHA_OLD, SHA_NEW)
        )
        car.journal.db.execute("PRAGMA synchronous = OFF")
        try:
            update.go_on(car)
            found.stuck += (serves(car.home, car), state(car).state) != (SHA_NEW, "idle")
        except ParkfleetError:
            found.stuck += 1
        found.unsound += car.journal.one("PRAGMA integrity_check") != "ok"


def releases(folder: Path, *, is_quick: bool, tell: Tell) -> Tried:
    """Cut the power at every operation of a release and of the next day's new signatures."""
    clock = SettableClock()
    fleet = Fleet(root=folder / "fleet", clock=clock)
    first = fleet.release(b"one model", release_seq=1)
    with (
        closing(sqlite3.connect(":memory:")) as nothing,
        watched(fleet.root, folder / "cuts", nothing) as cuts,
    ):
        fleet.release(b"another model", release_seq=2)
        clock.now_us += _DAY_US
        fleet.repository.refresh()
    found = Tried(what="the server's releases", operations=cuts.operations)
    for number, place in enumerate([*cuts.states.values()][:: _QUICK if is_quick else 1]):
        found.states += 1
        found.unsure += place.name.endswith(("-lost", "-torn"))
        _judge_server(place, clock, first, folder / f"car-{number}", found)
        shutil.rmtree(place)
        tell()
    return found


def _judge_server(place: Path, clock: SettableClock, first: str, car: Path, found: Tried) -> None:
    """Start the server whose disk lies at `place`: a car believes it, and releases go on."""
    try:
        fleet = Fleet(root=place, clock=clock)
        fleet.repository.refresh()
        client = ReleaseClient(enrolled_home(car, fleet), clock)
        client.find(fleet.metadata(), first)
    except ParkfleetError:
        found.unsound += 1
        return
    try:
        again = fleet.release(b"another model", release_seq=2)
    except ParkfleetError:
        # It was released before the cut, and is not taken twice.
        again = next((each for each in fleet.repository.targets() if each != first), "")
    try:
        client.find(fleet.metadata(), again)
    except ParkfleetError:
        found.stuck += 1
