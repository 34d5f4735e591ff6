"""What a car reports of itself is taken from cars that belong to the fleet, and from no other."""

import pytest

from fleet_server.cars import standing
from fleet_server.cars.twin import Report, Twin
from shared import codec, topics
from shared.errors import RefusedError
from shared.messages import Presence
from tests.fleet_server.fleet import BOOT, START_US, Fleet


def test_a_revoked_car_stays_offline_whatever_a_broker_still_says_of_it(fleet: Fleet) -> None:
    twin = Twin(fleet.database, fleet.clock)
    said = codec.encode(Presence(device="car-1", boot=BOOT, connection=1, online=True))
    twin.take(topics.PRESENCE, "car-1", said)
    with fleet.database.write() as connection:
        standing.revoke(
            connection, fleet.state, device="car-1", actor="anna", reason="sold", utc_us=START_US
        )
    with pytest.raises(RefusedError, match="revoked"):
        twin.take(topics.PRESENCE, "car-1", said)
    car = fleet.queries.device("car-1")
    assert car is not None
    assert (car.state, car.online) == ("revoked", False)


def _report(device: str, connection: int, *, online: bool) -> Report:
    said = Presence(device=device, boot=BOOT, connection=connection, online=online)
    return Report(topics.PRESENCE, device, codec.encode(said))


def test_what_one_car_says_wrongly_costs_the_others_nothing(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    reports = [
        _report("car-1", 1, online=True),
        Report(topics.PRESENCE, "car-1", b"rubbish"),
        Report(topics.PRESENCE, "car-1", _report("car-2", 9, online=False).body),
        _report("a-stranger", 1, online=True),
        _report("car-2", 1, online=True),
    ]
    refusals = Twin(fleet.database, fleet.clock).take_all(reports)
    assert [each is None for each in refusals] == [True, False, False, False, True]
    assert "unknown device a-stranger" in str(refusals[3])
    for name in ("car-1", "car-2"):
        car = fleet.queries.device(name)
        assert car is not None
        assert car.online


def test_reports_of_one_car_that_came_together_count_in_their_order(fleet: Fleet) -> None:
    reports = [
        _report("car-1", 1, online=True),
        _report("car-1", 2, online=True),
        _report("car-1", 1, online=False),
    ]
    assert not any(Twin(fleet.database, fleet.clock).take_all(reports))
    car = fleet.queries.device("car-1")
    assert car is not None
    assert car.online


def test_nothing_said_takes_no_lock(fleet: Fleet) -> None:
    twin = Twin(fleet.database, fleet.clock)
    with fleet.database.write():
        assert twin.take_all([]) == []
        (refusal,) = twin.take_all([Report(topics.STATUS, "car-1", b"rubbish")])
    assert refusal is not None
