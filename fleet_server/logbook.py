"""The fleet's log book: writes decisions, and what follows from them in the same transaction.

Laws:
- nothing about the fleet is changed without an entry that says who, why, and on which numbers;
- the entry and the change are one transaction.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, and_, insert, or_, select, update

from fleet_server.rollout import offering
from fleet_server.rollout.rules import DesiredState, Split, next_state
from fleet_server.storage.tables import decisions, deployments, desired, devices, meta, models

CONTROL = "control"
"""The actor of every decision that the server takes by itself."""


def write(
    connection: Connection,
    *,
    utc_us: int,
    deployment: str,
    kind: str,
    reason: str,
    actor: str = CONTROL,
    evidence: dict[str, object] | None = None,
    verdict: int | None = None,
    model: str | None = None,
) -> int:
    """Enter a decision; return its id."""
    statement = insert(decisions).values(
        utc_us=utc_us,
        deployment=deployment,
        actor=actor,
        kind=kind,
        reason=reason,
        evidence=msgspec.json.encode(evidence or {}).decode(),
        verdict=verdict,
        model=model,
    )
    return int(connection.execute(statement.returning(decisions.c.id)).scalar_one())


def set_desired(
    connection: Connection,
    device: str,
    *,
    deployment: str,
    decision: int,
    utc_us: int,
    epoch: int = 0,
    again: bool = False,
) -> bool:
    """Bring a car's desired state to what its deployment runs; tell whether that changed it.

    With `again` it is said anew even where it is the same.

    Its epoch is the highest of `epoch`, the database's and that of the state before.
    """
    current = current_desired(connection, device)
    own = int(connection.execute(select(meta.c.value).filter_by(key="epoch")).scalar_one())
    offer = offering.offer_to(connection, deployment, device)
    target = connection.scalar(wanted_path(deployment))
    if current is not None and current.deployment == deployment and current.target is not None:
        waits = offering.waits_for_others(connection, device, deployment)
        target = current.target if waits else target
    state = next_state(
        current,
        epoch=max(own, epoch, current.epoch if current else 0),
        deployment=deployment,
        target=target,
        upload=current.upload if current else "pictures",
        candidate=offer.candidate if offer else None,
        harm=offer is not None and offer.harm,
        split=offer.split if offer else None,
        again=again,
    )
    if state is None:
        return False
    number = connection.execute(
        insert(desired)
        .values(
            device=device,
            epoch=state.epoch,
            revision=state.revision,
            deployment=state.deployment,
            target=state.target,
            candidate=state.candidate,
            harm=state.harm,
            share=state.split.share if state.split else None,
            draw=state.split.draw if state.split else None,
            upload=state.upload,
            decision=decision,
            utc_us=utc_us,
        )
        .returning(desired.c.id)
    ).scalar_one()
    connection.execute(update(devices).where(devices.c.name == device).values(desired=number))
    return True


def deployment_of(connection: Connection, device: str) -> str:
    """Return the deployment that a car belongs to, "" where there is no such car."""
    return connection.scalar(select(devices.c.deployment).filter_by(name=device)) or ""


def current_desired(connection: Connection, device: str) -> DesiredState | None:
    """Return a car's desired state in force, or None before its first."""
    row = connection.execute(
        select(desired)
        .join(devices, devices.c.desired == desired.c.id)
        .where(devices.c.name == device)
    ).one_or_none()
    return None if row is None else _state(row)


def _state(row: Row[Any]) -> DesiredState:
    return DesiredState(
        epoch=row.epoch,
        revision=row.revision,
        deployment=row.deployment,
        target=row.target,
        upload=row.upload,
        candidate=row.candidate,
        harm=row.harm,
        split=None if row.share is None else Split(row.draw, row.share),
    )


def wanted_path(deployment: str) -> Select[str]:
    """Return the query for the release path that cars of `deployment` are to run: one row or none.

    That of the pinned version, else of `latest`.
    """
    pinned, latest = deployments.c.pinned_version, deployments.c.latest_model
    return (
        select(models.c.path)
        .join(deployments, deployments.c.name == models.c.deployment)
        .where(
            deployments.c.name == deployment,
            or_(models.c.version == pinned, and_(pinned.is_(None), models.c.sha256 == latest)),
        )
    )
