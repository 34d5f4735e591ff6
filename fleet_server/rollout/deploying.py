"""What a deployment runs and whether it is in use: pinned to a version, retired, taken up again.

    cars run            pinned_version where one is set, else `latest`
    `latest`            moves with every release, pinned or not (`steering`)
    retired             has no cars, gets none, and nothing is judged or trained for it

Laws:
- a change and its entry in the log book are one transaction;
- the cars follow by the control loop, which finds what their desired states do not say yet;
- a car refuses a version older than one it committed, unless it lies in a slot: pinning asks, and
  the car's report tells.
"""

from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, update

from fleet_server import logbook
from fleet_server.storage.tables import deployments, devices, models
from shared.errors import RefusedError

Status = Literal["active", "retired"]


def pin(
    connection: Connection,
    *,
    name: str,
    version: int | None,
    actor: str,
    reason: str,
    utc_us: int,
) -> None:
    """Let the cars of deployment `name` run `version` whatever comes; None: `latest` again.

    Raises:
        RefusedError: there is no such deployment, or no such version in it.
    """
    found = _deployment(connection, name)
    model = None
    if version is not None:
        model = connection.scalar(
            select(models.c.sha256).filter_by(deployment=name, version=version)
        )
        if model is None:
            raise RefusedError(f"there is no version {version} in {name}")
    if found.pinned_version == version:
        return
    connection.execute(
        update(deployments).where(deployments.c.id == found.id).values(pinned_version=version)
    )
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment=name,
        kind="pin" if version is not None else "unpin",
        reason=reason,
        actor=actor,
        evidence={"version": version, "before": found.pinned_version},
        model=model,
    )


def set_status(
    connection: Connection, *, name: str, status: Status, actor: str, reason: str, utc_us: int
) -> None:
    """Retire deployment `name`, or take it up again.

    Raises:
        RefusedError: there is no such deployment, or it is to be retired and has cars.
    """
    found = _deployment(connection, name)
    if found.status == status:
        return
    cars = connection.scalar(
        select(func.count())
        .select_from(devices)
        .where(devices.c.deployment == name, devices.c.state != "revoked")
    )
    if status == "retired" and cars:
        raise RefusedError(f"{cars} cars belong to {name}: move them first")
    connection.execute(
        update(deployments).where(deployments.c.id == found.id).values(status=status)
    )
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment=name,
        kind="retire" if status == "retired" else "take-up",
        reason=reason,
        actor=actor,
    )


def check_open(connection: Connection, name: str) -> None:
    """Return quietly where cars may come to deployment `name`.

    Raises:
        RefusedError: there is no such deployment, or it is retired.
    """
    if _deployment(connection, name).status != "active":
        raise RefusedError(f"the deployment {name} is retired")


def _deployment(connection: Connection, name: str) -> Row[Any]:
    found = connection.execute(select(deployments).filter_by(name=name)).one_or_none()
    if found is None:
        raise RefusedError(f"there is no deployment {name!r}")
    return found
