"""The fleet as its lists show it."""

from sqlalchemy import update

from fleet_server.rollout import registration
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage.tables import devices
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet, manifest


def test_nobody_waits_for_a_revoked_car(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    with fleet.database.write() as connection:
        registration.register(connection, manifest(), utc_us=START_US)
        connection.execute(update(devices).where(devices.c.name == "car-2").values(state="revoked"))
    Control(fleet.database, ServerSettings(), fleet.clock).look()
    (rollout,) = fleet.queries.rollouts()
    (deployment,) = fleet.queries.deployments(name=DEPLOYMENT)
    assert (rollout.wanted, deployment.devices) == (1, 1)
