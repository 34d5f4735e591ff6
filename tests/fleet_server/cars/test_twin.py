"""What a car reports of itself is taken from cars that belong to the fleet, and from no other."""

import pytest

from fleet_server.cars import standing
from fleet_server.cars.twin import Twin
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
