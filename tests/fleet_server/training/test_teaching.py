"""Which pictures are asked of cars, and when: those that teach, while a training waits for data."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from device.agent.commands import picture_keys
from fleet_server.cars import commanding
from fleet_server.cars.commanding import CommandView
from fleet_server.rollout import registration
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage.tables import devices
from fleet_server.training import asking, teaching
from fleet_server.training.teaching import Candidate
from shared.messages import CommandResult
from tests.fleet_server.fleet import BOOT, START_US, Fleet, drive, manifest

SETTINGS = ServerSettings(retrain_pairs=60, reference_manoeuvres=8)
MADE = manifest(b"one")


def _candidate(
    sequence: int, *, stretch: int = 5, residual: float = 1.0, outside: bool = False
) -> Candidate:
    return Candidate(
        device="car-1",
        boot=BOOT,
        sequence=sequence,
        stretch=stretch,
        residual=residual,
        is_outside=outside,
    )


CANDIDATES = st.lists(
    st.builds(
        _candidate,
        st.integers(0, 10_000),
        stretch=st.integers(0, 13),
        residual=st.floats(0.0, 100.0),
        outside=st.booleans(),
    ),
    max_size=60,
    unique_by=lambda each: each.sequence,
)


@given(CANDIDATES, st.integers(1, 80), st.integers(0, 9))
def test_a_choice_is_as_many_as_wanted_each_once_and_the_same_again(
    candidates: list[Candidate], wanted: int, seed: int
) -> None:
    chosen = teaching.choose(candidates, wanted, held=Counter(), seed=seed)
    assert len(chosen) == len({each.sequence for each in chosen}) == min(wanted, len(candidates))
    assert teaching.choose(candidates, wanted, held=Counter(), seed=seed) == chosen


@given(CANDIDATES)
def test_what_is_ordered_is_what_a_car_understands(candidates: list[Candidate]) -> None:
    named = teaching.spans(candidates)
    if named:
        asked = {sequence for _, sequence in picture_keys(named)}
        assert asked <= {each.sequence for each in candidates}
        assert all(len(text) <= teaching.LONGEST for text in named.values())


def test_sequences_in_a_row_are_one_span() -> None:
    chosen = [_candidate(number) for number in (3, 11, 10, 7, 12)]
    assert teaching.spans(chosen) == {BOOT: "3,7,10-12"}


def test_thin_stretches_come_first_then_the_unknown_then_high_residuals() -> None:
    candidates = [
        *[_candidate(number, stretch=5, residual=50.0) for number in range(20)],
        _candidate(100, stretch=9, residual=1.0),
        _candidate(101, stretch=9, residual=9.0),
        _candidate(102, stretch=9, residual=0.0, outside=True),
    ]
    held = Counter({5: 40})
    chosen = teaching.choose(candidates, 4, held=held, seed=3)
    in_order = [each.sequence for each in chosen[1:] if each.stretch == 9]
    assert in_order == [n for n in (102, 101, 100) if n in in_order]
    assert len(in_order) + (chosen[0].stretch == 9) == 3


def _settle(fleet: Fleet) -> None:
    Control(fleet.database, SETTINGS, fleet.clock).settle(threading.Event())


def _orders(fleet: Fleet) -> tuple[CommandView, ...]:
    with fleet.database.read() as connection:
        return commanding.listed(connection)


def _waiting(fleet: Fleet) -> None:
    """Have a car drift whose pictures did not come."""
    with fleet.database.write() as connection:
        registration.register(connection, MADE, utc_us=START_US)
        seen = {"boot": BOOT, "connection": 7, "online": True}
        connection.execute(update(devices).values(seen))
    for manoeuvre in range(10):
        fleet.send(drive(manoeuvre, model=MADE.sha256, error=4.0))
    _settle(fleet)
    for manoeuvre in range(20, 26):
        whole = drive(manoeuvre, model=MADE.sha256, error=30.0, looks=160.0)
        fleet.send(type(whole)(
            device=whole.device, samples=whole.samples, manoeuvres=whole.manoeuvres, pictures=()
        ))  # fmt: skip
    _settle(fleet)


@pytest.mark.slow
def test_a_retraining_that_waits_for_pairs_asks_for_pictures_once_they_are_late(
    fleet: Fleet,
) -> None:
    _waiting(fleet)
    assert _orders(fleet) == ()
    fleet.clock.now_us += asking.ON_ITS_WAY_US + 1
    _settle(fleet)
    (order,) = _orders(fleet)
    assert (order.device, order.actor, order.verb) == ("car-1", "control", "pictures")
    keys = picture_keys(order.arguments)
    assert {boot for boot, _ in keys} == {BOOT}
    assert 40 <= len(keys) <= 60
    assert all(200 <= sequence < 260 for _, sequence in keys)


@pytest.mark.slow
def test_a_car_is_not_asked_again_at_once_and_one_that_refused_not_for_long(fleet: Fleet) -> None:
    _waiting(fleet)
    fleet.clock.now_us += asking.ON_ITS_WAY_US + 1
    _settle(fleet)
    _settle(fleet)
    (order,) = _orders(fleet)
    commanding.due(fleet.database, fleet.server_key, fleet.clock)
    refused = CommandResult(
        device="car-1", actor="control", number=order.id, outcome="refused", reason="the owner"
    )
    with fleet.database.write() as connection:
        commanding.take_result(connection, refused, utc_us=fleet.clock.utc_us())
    fleet.clock.now_us += asking.AGAIN_US + 1
    _settle(fleet)
    assert len(_orders(fleet)) == 1
    fleet.clock.now_us += asking.REFUSED_US
    _settle(fleet)
    assert len(_orders(fleet)) == 2
