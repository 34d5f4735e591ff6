"""From a registered model to the cars that are told to run it: steps of the control loop.

Laws:
- a step reads and decides; what it returns writes, in the same transaction;
- `rules` holds them: this module reads and writes.
"""

import logging

from sqlalchemy import Connection, select, update

from fleet_server import logbook
from fleet_server.rollout.rules import Version, to_promote
from fleet_server.storage.database import Change
from fleet_server.storage.tables import deployments, desired, devices, models

logger = logging.getLogger(__name__)


def promote(connection: Connection, deployment: str, now_utc_us: int) -> Change | None:
    """Make the newest registered model the deployment's `latest`, where it is not."""
    latest = connection.scalar(select(deployments.c.latest_model).filter_by(name=deployment))
    # By its release number, which rises with every release: one that was registered late, after a
    # newer one, is refused by every car that runs the newer.
    newest = select(models).filter_by(deployment=deployment).order_by(models.c.release_seq.desc())
    version = to_promote(
        latest,
        [
            Version(sha256=row.sha256, version=row.version, path=row.path)
            for row in connection.execute(newest.limit(1))
        ],
    )
    if version is None:
        return None
    return lambda c: _promote(c, deployment, version, latest, now_utc_us)


def steer(connection: Connection, deployment: str, now_utc_us: int) -> Change | None:
    """Set the desired state of those cars that are not told yet to run what is wanted there."""
    path = logbook.wanted_path(deployment).scalar_subquery()
    behind = (
        select(devices.c.name)
        .outerjoin(desired, desired.c.id == devices.c.desired)
        .where(devices.c.deployment == deployment, devices.c.state == "confirmed")
        .where(
            desired.c.id.is_(None)
            | desired.c.target.is_distinct_from(path)
            | (desired.c.deployment != deployment)
        )
    )
    cars = list(connection.scalars(behind))
    return (lambda c: _steer(c, deployment, cars, now_utc_us)) if cars else None


def _promote(
    connection: Connection, deployment: str, version: Version, latest: str | None, now_utc_us: int
) -> None:
    logbook.write(
        connection,
        utc_us=now_utc_us,
        deployment=deployment,
        kind="promote",
        reason=f"v{version.version} is the newest model trained for {deployment}",
        evidence={"version": version.version, "before": latest},
        model=version.sha256,
    )
    connection.execute(
        update(deployments)
        .where(deployments.c.name == deployment)
        .values(latest_model=version.sha256)
    )
    logger.info("promoted deployment=%s version=%d", deployment, version.version)


def _steer(connection: Connection, deployment: str, cars: list[str], now_utc_us: int) -> None:
    decision = logbook.write(
        connection,
        utc_us=now_utc_us,
        deployment=deployment,
        kind="rollout",
        reason=f"cars of {deployment} follow what it runs",
        evidence={"cars": cars},
    )
    for car in cars:
        logbook.set_desired(
            connection, car, deployment=deployment, decision=decision, utc_us=now_utc_us
        )
