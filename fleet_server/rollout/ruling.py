"""What people decide of a rollout: pause, resume, abort, promote; each with its reason.

    running -> paused -> running;  running, paused -> aborted (offered no more) or ended (promoted)

Laws:
- a change and its entry in the log book are one transaction;
- a person may promote what the gates did not, and stop what they let pass; cars still decide for
  themselves whether they keep a candidate, and a car that refused one is not overruled.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, select, update

from fleet_server import logbook
from fleet_server.rollout import offering, stages
from fleet_server.rollout.arms import Weight
from fleet_server.rollout.stages import PLANS
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import deployments
from shared.errors import RefusedError

Order = Literal["paused", "running", "aborted", "ended"]

_KINDS: dict[Order, str] = {
    "paused": "rollout-pause",
    "running": "rollout-resume",
    "aborted": "rollout-abort",
    "ended": "promote",
}


@dataclass(frozen=True, kw_only=True)
class RolloutView:
    """Where a rollout stands; the counts are of the cars of its present stage.

    `arms` is what they measured of two models that share the driving, under `ab` and `bandit`.
    """

    id: int
    deployment: str
    model: str
    strategy: str
    state: str
    stage: int
    stages: int
    stage_since_utc_us: int
    begun_utc_us: int
    harm: bool
    reason: str
    cars: int
    keep: int
    failed: int
    arms: Weight | None = None


def last(connection: Connection, deployment: str) -> RolloutView | None:
    """Return the newest rollout of `deployment`, open or not; None before the first."""
    query = select(rollouts).filter_by(deployment=deployment).order_by(rollouts.c.id.desc())
    row = connection.execute(query.limit(1)).one_or_none()
    if row is None:
        return None
    plan = PLANS[row.strategy]
    staged = stages.stage_of(plan, row.id, row.stage, offering.cars_of(connection, row))
    count = stages.counted(staged, is_late=False)
    fields = {
        name: getattr(row, name) for name in RolloutView.__dataclass_fields__ if name in rollouts.c
    }
    return RolloutView(
        **fields,
        stages=len(plan.shares),
        cars=count.cars,
        keep=count.keep,
        failed=count.failed,
        arms=offering.weight_of(connection, row),
    )


def order(
    connection: Connection,
    *,
    deployment: str,
    state: Order,
    actor: str,
    reason: str,
    utc_us: int,
) -> None:
    """Put the open rollout of `deployment` into `state`; resumed, its stage begins anew.

    Raises:
        RefusedError: there is no open rollout.
    """
    rollout = offering.open_rollout(connection, deployment)
    if rollout is None:
        raise RefusedError(f"nothing is being rolled out in {deployment}")
    if rollout.state == state:
        return
    values: dict[str, object] = {"state": state, "reason": reason}
    if state == "running":
        values["stage_since_utc_us"] = utc_us
    connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(**values))
    if state == "ended":
        connection.execute(
            update(deployments)
            .where(deployments.c.name == deployment)
            .values(latest_model=rollout.model)
        )
    _enter(connection, rollout, state=state, actor=actor, reason=reason, utc_us=utc_us)


def _enter(
    connection: Connection,
    rollout: Row[Any],
    *,
    state: Order,
    actor: str,
    reason: str,
    utc_us: int,
) -> None:
    cars = offering.cars_of(connection, rollout)
    staged = stages.stage_of(PLANS[rollout.strategy], rollout.id, rollout.stage, cars)
    count = stages.counted(staged, is_late=False)
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment=rollout.deployment,
        kind=_KINDS[state],
        reason=reason,
        actor=actor,
        evidence={
            "before": rollout.state,
            "stage": rollout.stage,
            "cars": count.cars,
            "keep": count.keep,
            "failed": count.failed,
        },
        model=rollout.model,
    )
