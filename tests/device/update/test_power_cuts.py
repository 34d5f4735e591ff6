"""A power cut at every state and file operation of an update: none costs the car its model.

`pytest --log-cli-level=info` tells how many instants were tried, and how long a car took to serve.
"""

import logging
import shutil
from pathlib import Path
from time import perf_counter
from typing import get_args

import pytest

from device.home import Home
from shared.errors import ParkfleetError
from tests.device.agent.world import SECOND, Car, Fleet, SettableClock
from tests.device.update.cut_updates import (
    NEW,
    OWN,
    SHA_NEW,
    SHA_OLD,
    Update,
    Way,
    cuts_of,
    left_in,
    serves,
    state,
)
from tests.device.update.power_cuts import watched

logger = logging.getLogger(__name__)


@pytest.mark.slow
@pytest.mark.parametrize("way", get_args(Way))
def test_after_a_cut_at_any_instant_the_car_has_a_model_that_loads_and_the_update_ends(
    tmp_path: Path,
    fleet: Fleet,
    clock: SettableClock,
    way: Way,
) -> None:
    update = Update(fleet=fleet, clock=clock, way=way)
    cuts = cuts_of(update, tmp_path)
    slowest_s, seen = 0.0, set[str]()
    for place in cuts.states.values():
        home = Home(place)
        seen.add(left_in(home))
        began = perf_counter()
        car = update.car(home)
        served = serves(home, car)
        slowest_s = max(slowest_s, perf_counter() - began)
        assert served in ((None, SHA_NEW) if way == "first" else (SHA_OLD, SHA_NEW)), place.name
        car.journal.db.execute("PRAGMA synchronous = OFF")
        update.go_on(car)
        assert serves(home, car) == SHA_NEW, place.name
        assert state(car).state == "idle", place.name
        car.journal.close()
        shutil.rmtree(place)
    # Every state, and more instants than there are lines of the table.
    states = {"idle", "fetching", "verifying", "probing", "committing"}
    assert seen >= states | OWN[way]
    assert len(cuts.states) > 60
    logger.info(
        "power_cuts operations=%d states=%d slowest_to_serve_s=%.3f",
        *(cuts.operations, len(cuts.states), slowest_s),
    )


@pytest.mark.slow
def test_after_a_cut_at_any_instant_of_a_step_back_the_former_model_is_in_service(
    tmp_path: Path, fleet: Fleet, clock: SettableClock
) -> None:
    update = Update(fleet=fleet, clock=clock, way="trial")
    car = update.prepare(tmp_path / "car")
    update.go_on(car)

    def crash(car: Car) -> None:
        for _ in range(5):
            car.journal.start_boot(bytes(4))
        clock.now_us += SECOND
        car.agent.tick()

    with watched(car.home.root, tmp_path / "cuts", car.journal.db.conn) as cuts:
        crash(car)
    car.journal.close()
    for place in cuts.states.values():
        home = Home(place)
        car = update.car(home)
        assert serves(home, car) in (SHA_OLD, SHA_NEW), place.name
        crash(car)
        assert serves(home, car) == SHA_OLD, place.name
        assert state(car).state == "rolled_back", place.name
        car.journal.close()


def test_a_cut_that_leaves_half_of_a_model_leaves_none_that_drive_would_load(
    tmp_path: Path, fleet: Fleet, clock: SettableClock
) -> None:
    update = Update(fleet=fleet, clock=clock, way="first")
    car = update.prepare(tmp_path / "car")
    update.go_on(car)
    home = car.home
    home.model(SHA_NEW).write_bytes(NEW[: len(NEW) // 2])
    with pytest.raises(ParkfleetError):
        serves(home, car)
    car.start()
    update.go_on(car)
    assert serves(home, car) == SHA_NEW
    car.journal.close()
