"""The fleet's log book: writes decisions, and what follows from them in the same transaction.

Laws:
- nothing about the fleet is changed without an entry that says who, why, and on which numbers;
- the entry and the change are one transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, and_, bindparam, insert, or_, select, update

from fleet_server.rollout import offering
from fleet_server.rollout.rules import DesiredState, Split, next_state
from fleet_server.storage.tables import decisions, deployments, desired, devices, meta, models

CONTROL = "control"
"""The actor of every decision that the server takes by itself."""


# Asked at each report of each car: to make a statement anew costs as much as to run it.
_IN_FORCE = select(desired).join(devices, devices.c.desired == desired.c.id)
_OF_A_CAR = _IN_FORCE.where(devices.c.name == bindparam("car"))


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
    changed = set_all_desired(
        connection,
        [device],
        deployment=deployment,
        decision=decision,
        utc_us=utc_us,
        epoch=epoch,
        again=again,
    )
    return bool(changed)


def set_all_desired(
    connection: Connection,
    cars: Sequence[str],
    *,
    deployment: str,
    decision: int,
    utc_us: int,
    epoch: int = 0,
    again: bool = False,
) -> int:
    """Do for each of `cars`, at most some hundred, what `set_desired` does; return the changed."""
    own = int(connection.execute(select(meta.c.value).filter_by(key="epoch")).scalar_one())
    wanted = connection.scalar(wanted_path(deployment))
    offers = offering.offers(connection, deployment)
    waiting = offering.waiting_for_others(connection, deployment).where(devices.c.name.in_(cars))
    waits = set(connection.scalars(waiting))
    before = _all_desired(connection, cars)
    states = {}
    for car in cars:
        current, offer = before.get(car), offers.get(car)
        waits_here = car in waits and current is not None and current.deployment == deployment
        states[car] = next_state(
            current,
            epoch=max(own, epoch, current.epoch if current else 0),
            deployment=deployment,
            target=(current.target if current and waits_here else None) or wanted,
            upload=current.upload if current else "pictures",
            candidate=offer.candidate if offer else None,
            harm=offer is not None and offer.harm,
            split=offer.split if offer else None,
            again=again,
        )
    changed = {car: state for car, state in states.items() if state is not None}
    _keep_desired(connection, changed, decision=decision, utc_us=utc_us)
    return len(changed)


def _keep_desired(
    connection: Connection, states: Mapping[str, DesiredState], *, decision: int, utc_us: int
) -> None:
    if not states:
        return
    rows = [
        {
            "device": car,
            "epoch": state.epoch,
            "revision": state.revision,
            "deployment": state.deployment,
            "target": state.target,
            "candidate": state.candidate,
            "harm": state.harm,
            "share": state.split.share if state.split else None,
            "draw": state.split.draw if state.split else None,
            "upload": state.upload,
            "decision": decision,
            "utc_us": utc_us,
        }
        for car, state in states.items()
    ]
    made = connection.execute(insert(desired).returning(desired.c.id, desired.c.device), rows)
    numbers = [{"car": row.device, "number": row.id} for row in made]
    connection.execute(
        update(devices)
        .where(devices.c.name == bindparam("car"))
        .values(desired=bindparam("number")),
        numbers,
    )


def deployment_of(connection: Connection, device: str) -> str:
    """Return the deployment that a car belongs to, "" where there is no such car."""
    return connection.scalar(select(devices.c.deployment).filter_by(name=device)) or ""


def current_desired(connection: Connection, device: str) -> DesiredState | None:
    """Return a car's desired state in force, or None before its first."""
    row = connection.execute(_OF_A_CAR, {"car": device}).one_or_none()
    return None if row is None else _state(row)


def _all_desired(connection: Connection, cars: Sequence[str]) -> dict[str, DesiredState]:
    rows = connection.execute(_IN_FORCE.where(devices.c.name.in_(cars)))
    return {row.device: _state(row) for row in rows}


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
