"""What moves a rollout, for the tests: registered models, reports of cars, looks of the server."""

import threading

import msgspec
from sqlalchemy import select

from fleet_server.cars.twin import Twin
from fleet_server.rollout import registration
from fleet_server.rollout.stages import Strategy
from fleet_server.rollout.withdrawing import Withdrawn
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import desired, devices
from shared import codec
from shared.messages import UpdateEvent
from shared.releases import target_path
from shared.topics import STATUS, UPDATE
from tests.fleet_server.fleet import BOOT, START_US, Fleet, manifest, status


def settle(
    fleet: Fleet,
    strategy: Strategy = "shadow",
    *,
    withdrawn: Withdrawn | None = None,
    **changes: float,
) -> None:
    """Let the control loop look until there is nothing left to do."""
    settings = msgspec.structs.replace(ServerSettings(rollout_strategy=strategy), **changes)
    control = Control(fleet.database, settings, fleet.clock, withdrawn=lambda: withdrawn or {})
    control.settle(threading.Event())


def register(fleet: Fleet, number: int) -> tuple[str, str]:
    """Register a model; return its digest and its path."""
    made = manifest(b"model %d" % number, release_seq=number)
    with fleet.database.write() as connection:
        registration.register(connection, made, utc_us=START_US)
    return made.sha256, target_path(made.task.name, made.deployment, made.sha256)


def told(fleet: Fleet) -> dict[str, tuple[str | None, str | None]]:
    """Return what each car is told: target and candidate."""
    query = select(devices.c.name, desired.c.target, desired.c.candidate)
    with fleet.database.read() as connection:
        rows = connection.execute(query.join(desired, desired.c.id == devices.c.desired)).all()
    return {row.name: (row.target, row.candidate) for row in rows}


def state(fleet: Fleet) -> tuple[str, int]:
    """Return the state and the stage of the newest rollout."""
    with fleet.database.read() as connection:
        row = connection.execute(select(rollouts).order_by(rollouts.c.id.desc())).first()
    assert row is not None
    return row.state, row.stage


def load(fleet: Fleet, car: str, digest: str) -> None:
    """Have `car` report the model `digest` as loaded."""
    said = status(car, loaded=digest, loaded_release_seq=1)
    Twin(fleet.database, fleet.clock).take(STATUS, car, codec.encode(said))


def refuse(fleet: Fleet, car: str, path: str, how: str = "refused") -> None:
    """Have `car` report that it refused the model at `path`, or what else became of it."""
    report(fleet, car, path, how, {})


def report(fleet: Fleet, car: str, path: str, how: str, evidence: dict[str, float]) -> None:
    """Have `car` report how it is with the model at `path`."""
    said = UpdateEvent(
        device=car,
        boot=BOOT,
        utc_us=START_US,
        number=9,
        target=path,
        model=None,
        state=how,  # type: ignore[arg-type]  # one of its states
        reason="worse on this car",
        evidence=evidence,
    )
    Twin(fleet.database, fleet.clock).take(UPDATE, car, codec.encode(said))
