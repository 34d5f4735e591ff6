"""Silence: counted from heartbeats, once each, and ended by the next report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from fleet_server.cars import registry
from fleet_server.cars.twin import Twin
from fleet_server.reading.views import DeviceView
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage.tables import devices
from shared import codec, topics
from shared.messages import Presence
from tests.fleet_server.fleet import BOOT, START_US, Fleet

AFTER_US = round(ServerSettings().heartbeat_silence_s * 1e6)


def say(fleet: Fleet, *, online: bool = True) -> None:
    presence = Presence(device="car-1", boot=BOOT, connection=1, online=online)
    Twin(fleet.database, fleet.clock).take(topics.PRESENCE, "car-1", codec.encode(presence))


def look(fleet: Fleet) -> DeviceView:
    Control(fleet.database, ServerSettings(), fleet.clock).look()
    car = fleet.queries.device("car-1")
    assert car is not None
    return car


def test_a_connected_car_that_says_nothing_is_silent_and_counted_once(fleet: Fleet) -> None:
    say(fleet)
    assert look(fleet).presence == "online"
    for _ in range(3):
        fleet.clock.now_us += AFTER_US + 1
        car = look(fleet)
        assert (car.presence, car.silences, car.silent_since_utc_us) == ("silent", 1, START_US)


def test_the_next_report_ends_a_silence_and_another_counts_again(fleet: Fleet) -> None:
    for count in (1, 2):
        say(fleet)
        assert look(fleet).presence == "online"
        fleet.clock.now_us += AFTER_US + 1
        assert look(fleet).silences == count


def test_a_car_that_said_good_bye_is_offline_and_not_silent(fleet: Fleet) -> None:
    say(fleet)
    say(fleet, online=False)
    fleet.clock.now_us += 10 * AFTER_US
    car = look(fleet)
    assert (car.presence, car.silences) == ("offline", 0)


def test_a_car_that_was_never_heard_of_is_not_silent(fleet: Fleet) -> None:
    with fleet.database.write() as connection:
        connection.execute(update(devices).values(online=True))
    assert look(fleet).silences == 0


@pytest.mark.parametrize("online", [True, False])
@given(last=st.integers(0, 10**15), now=st.integers(0, 10**15))
def test_a_clock_that_went_back_makes_nobody_silent(online: bool, last: int, now: int) -> None:
    silent = registry.falls_silent(
        online=online, is_silent=False, last_seen_utc_us=last, now_utc_us=now, after_us=AFTER_US
    )
    assert silent == (online and now > last + AFTER_US)
