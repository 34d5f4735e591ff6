"""From a registered model to the cars that are told to run it: steps of the control loop.

Laws:
- a step reads and decides; what it returns writes, in the same transaction;
- `rules` and `stages` hold the rules: this module reads and writes.
"""

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, insert, or_, select, update

from fleet_server import logbook
from fleet_server.rollout import offering, stages
from fleet_server.rollout.offering import Offer, cars_of, open_rollout, weight_of
from fleet_server.rollout.rules import Version, to_promote
from fleet_server.rollout.stages import PLANS, Plan, Strategy, Verdict
from fleet_server.storage.database import Change
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.rollout_tables import STOPPED, rollouts
from fleet_server.storage.tables import deployments, desired, devices, models

logger = logging.getLogger(__name__)

AT_ONCE: Final = 500
"""Cars that are told something new in one transaction."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a new model is rolled out; `share` is of the manoeuvres that a second arm drives.

    `deadline_us` is how long a car of a stage may stay silent.
    """

    strategy: Strategy = "shadow"
    share: float = 0.5
    deadline_us: int = Plan.deadline_us


def begin(
    connection: Connection, deployment: str, now_utc_us: int, manner: Manner
) -> Change | None:
    """Begin the rollout of the newest registered model, or promote it at once.

    That is where it is the first one, or where the strategy says so. One model at a time; one whose
    rollout was aborted or that was dropped is neither begun again nor promoted.
    """
    latest = connection.scalar(select(deployments.c.latest_model).filter_by(name=deployment))
    # By its release number, which rises with every release: one that was registered late, after a
    # newer one, is refused by every car that runs the newer.
    newest = select(models).filter_by(deployment=deployment, withdrawn_utc_us=None)
    newest = newest.order_by(models.c.release_seq.desc())
    rows = connection.execute(newest.limit(1)).all()
    version = to_promote(
        latest,
        [Version(sha256=row.sha256, version=row.version, path=row.path) for row in rows],
    )
    if version is None:
        return None
    stopped = select(rollouts.c.id).where(
        rollouts.c.model == version.sha256, rollouts.c.state.in_(STOPPED)
    )
    if connection.scalar(stopped.limit(1)) is not None:
        return None
    if latest is None or manner.strategy == "direct":
        reason = f"v{version.version} is the newest model trained for {deployment}"
        return lambda c: _promote(
            c, deployment, version, latest=latest, reason=reason, evidence={}, now_utc_us=now_utc_us
        )
    known = connection.scalar(select(rollouts.c.id).filter_by(model=version.sha256).limit(1))
    if known is not None or open_rollout(connection, deployment) is not None:
        return None
    harm = _was_harmed(connection, latest)
    return lambda c: _begin(c, deployment, version, manner=manner, harm=harm, now_utc_us=now_utc_us)


def move(connection: Connection, deployment: str, now_utc_us: int, manner: Manner) -> Change | None:
    """Judge the stage of a running rollout: on to the next one, paused, or promoted."""
    rollout = open_rollout(connection, deployment)
    if rollout is None or rollout.state != "running":
        return None
    weight = weight_of(connection, rollout)
    verdict = stages.judge(
        replace(PLANS[rollout.strategy], deadline_us=manner.deadline_us),
        rollout.id,
        rollout.stage,
        cars_of(connection, rollout),
        elapsed_us=now_utc_us - rollout.stage_since_utc_us,
        weight=weight,
    )
    if verdict is None:
        return None
    measured = asdict(weight) if weight is not None else {}
    return lambda c: _move(c, rollout, verdict, measured, now_utc_us)


def steer(connection: Connection, deployment: str, now_utc_us: int) -> Change | None:
    """Set the desired state of those cars that are not told yet what is wanted there.

    Of many, `AT_ONCE` are told in one transaction: what cars send need not wait long for it.
    """
    wanted = connection.scalar(logbook.wanted_path(deployment))
    offers = offering.offers(connection, deployment)
    behind = [
        row
        for row in connection.execute(_told(deployment, wanted, is_offering=bool(offers)))
        if not _is_told(row, deployment, wanted, offers.get(row.name))
    ]
    if not behind:
        return None
    held = set(connection.scalars(offering.waiting_for_others(connection, deployment)))
    cars = [row.name for row in behind if row.name not in held or not _is_driving(row, deployment)]
    if not cars:
        return None
    return lambda c: _steer(c, deployment, cars[:AT_ONCE], now_utc_us)


def _told(deployment: str, wanted: str | None, *, is_offering: bool) -> Select[Any]:
    """Return the query for what cars are told; without an offer, for those told something else."""
    told = (
        select(
            devices.c.name,
            desired.c.deployment,
            desired.c.target,
            desired.c.candidate,
            desired.c.share,
            desired.c.draw,
        )
        .outerjoin(desired, desired.c.id == devices.c.desired)
        .where(devices.c.deployment == deployment, devices.c.state == "confirmed")
        .order_by(devices.c.id)
    )
    if is_offering:
        return told
    return told.where(
        or_(
            desired.c.id.is_(None),
            desired.c.deployment != deployment,
            desired.c.target.is_distinct_from(wanted),
            desired.c.candidate.is_not(None),
            desired.c.share.is_not(None),
            desired.c.draw.is_not(None),
        )
    )


def _is_told(row: Row[Any], deployment: str, wanted: str | None, offer: Offer | None) -> bool:
    split = offer.split if offer else None
    return (row.deployment, row.target, row.candidate, row.share, row.draw) == (
        deployment,
        wanted,
        offer.candidate if offer else None,
        split.share if split else None,
        split.draw if split else None,
    )


def _is_driving(row: Row[Any], deployment: str) -> bool:
    """Tell whether a car has a model of its deployment to go on with."""
    return row.target is not None and row.deployment == deployment


def _was_harmed(connection: Connection, model: str) -> bool:
    hurting = select(verdicts.c.id).filter_by(model=model, hurts=True, cleared_utc_us=None)
    return connection.scalar(hurting.limit(1)) is not None


def _begin(
    connection: Connection,
    deployment: str,
    version: Version,
    *,
    manner: Manner,
    harm: bool,
    now_utc_us: int,
) -> None:
    reason = f"v{version.version} is tried: {manner.strategy}"
    logbook.write(
        connection,
        utc_us=now_utc_us,
        deployment=deployment,
        kind="rollout-begin",
        reason=reason,
        evidence={"version": version.version, "strategy": manner.strategy, "harm": harm},
        model=version.sha256,
    )
    connection.execute(
        insert(rollouts).values(
            deployment=deployment,
            model=version.sha256,
            path=version.path,
            strategy=manner.strategy,
            share=manner.share,
            harm=harm,
            state="running",
            stage=0,
            stage_since_utc_us=now_utc_us,
            begun_utc_us=now_utc_us,
            reason=reason,
        )
    )
    logger.info("rollout_begun deployment=%s version=%d", deployment, version.version)


_ENDS = {"advance": "running", "pause": "paused", "end": "ended", "drop": "dropped"}


def _move(
    connection: Connection,
    rollout: Row[Any],
    verdict: Verdict,
    measured: dict[str, object],
    now_utc_us: int,
) -> None:
    evidence = {"stage": rollout.stage, **asdict(verdict.count), **measured}
    values: dict[str, object] = {"state": _ENDS[verdict.move], "reason": verdict.reason}
    if verdict.move == "advance":
        values |= {"stage": rollout.stage + 1, "stage_since_utc_us": now_utc_us}
    connection.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(**values))
    if verdict.move == "end":
        row = connection.execute(select(models).filter_by(sha256=rollout.model)).one()
        version = Version(sha256=row.sha256, version=row.version, path=row.path)
        latest = connection.scalar(
            select(deployments.c.latest_model).filter_by(name=rollout.deployment)
        )
        reason = f"v{version.version} is better: {verdict.reason}"[:500]
        _promote(
            connection,
            rollout.deployment,
            version,
            latest=latest,
            reason=reason,
            evidence=evidence,
            now_utc_us=now_utc_us,
        )
        return
    logbook.write(
        connection,
        utc_us=now_utc_us,
        deployment=rollout.deployment,
        kind=f"rollout-{verdict.move}",
        reason=verdict.reason,
        evidence=evidence,
        model=rollout.model,
    )
    logger.info("rollout_moved deployment=%s move=%s", rollout.deployment, verdict.move)


def _promote(
    connection: Connection,
    deployment: str,
    version: Version,
    *,
    latest: str | None,
    reason: str,
    evidence: dict[str, object],
    now_utc_us: int,
) -> None:
    logbook.write(
        connection,
        utc_us=now_utc_us,
        deployment=deployment,
        kind="promote",
        reason=reason,
        evidence={"version": version.version, "before": latest, **evidence},
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
    logbook.set_all_desired(
        connection, cars, deployment=deployment, decision=decision, utc_us=now_utc_us
    )
