"""From verdicts to training jobs: steps of the control loop.

Laws:
- a step reads and decides; what it returns writes, in the same transaction;
- `retraining` holds the rules;
- every decision about a verdict stands in the log book once, when it comes to be; a job and its
  decision are written together.
"""

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fleet_server import logbook
from fleet_server.settings import ServerSettings
from fleet_server.storage import situation
from fleet_server.storage.database import Change
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import decisions, deployments, models, training_jobs
from fleet_server.training import jobs, retraining
from fleet_server.training.retraining import Decision, Known, Policy, Situation, Word

logger = logging.getLogger(__name__)

_MOST_VERDICTS = 100


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The numbers of all rules about learning."""

    training: Policy
    claims: int


def rules(settings: ServerSettings) -> Rules:
    """Return the rules as an operator set them."""
    return Rules(
        training=Policy(
            first_pairs=settings.first_training_pairs,
            first_manoeuvres=settings.first_training_manoeuvres,
            retrain_pairs=settings.retrain_pairs,
            retrain_manoeuvres=settings.retrain_manoeuvres,
            attempts=settings.job_attempts,
            pause_us=round(settings.job_pause_s * 1e6),
            cool_down_us=round(settings.retrain_cool_down_s * 1e6),
            budget=settings.retrains_a_day,
            asks=settings.retrain_approval,
        ),
        claims=settings.job_claims,
    )


def train(connection: Connection, deployment: str, now_utc_us: int, by: Rules) -> Change | None:
    """Write down what is decided anew, and queue a training job where the policy asks for one."""
    seen = _situation(connection, deployment, now_utc_us, by.training)
    news = [
        each
        for each in retraining.decide(seen, by.training)
        if each.kind in retraining.TRAINS or _is_news(connection, each)
    ]
    if not news:
        return None
    return lambda c: _carry_out(c, deployment, news, now_utc_us)


def give_up(connection: Connection, deployment: str, now_utc_us: int, by: Rules) -> Change | None:
    """End, as failed, a job whose workers all fell silent: it may be what kills them."""
    job = jobs.worn_out(connection, deployment, utc_us=now_utc_us, most=by.claims)
    if job is None:
        return None
    reason = f"its worker fell silent {job.attempt} times, {job.worker} last, in {job.stage!r}"
    logger.error("job_given_up job=%d reason=%r", job.id, reason)
    return lambda c: jobs.fail(c, job.id, reason=reason, attempt=job.attempt, utc_us=now_utc_us)


def _is_under_way(connection: Connection, deployment: str) -> bool:
    """Tell whether a newer model than the latest is being rolled out, or was stopped by people.

    Another one for the same cause would meet the same cars. One that was tried and dropped is over.
    """
    dropped = select(rollouts.c.model).filter_by(deployment=deployment, state="dropped")
    newest = select(models.c.sha256).filter_by(deployment=deployment, withdrawn_utc_us=None)
    newest = newest.where(models.c.sha256.not_in(dropped))
    newest = newest.order_by(models.c.release_seq.desc()).limit(1)
    latest = connection.scalar(select(deployments.c.latest_model).filter_by(name=deployment))
    found = connection.scalar(newest)
    return latest is not None and found is not None and found != latest


def _latest(connection: Connection, deployment: str) -> Row[Any] | None:
    return connection.execute(
        select(models)
        .join(deployments, deployments.c.latest_model == models.c.sha256)
        .where(deployments.c.name == deployment)
    ).one_or_none()


def _situation(
    connection: Connection, deployment: str, now_utc_us: int, policy: Policy
) -> Situation:
    model = _latest(connection, deployment)
    is_first = model is None
    failures, failed_utc_us = _failures(connection, deployment, None)
    pairs, cars, fewest = _first_lessons(connection, deployment, policy) if is_first else (0, 0, 0)
    return Situation(
        deployment=deployment,
        models=_count_models(connection, deployment),
        open_jobs=int(
            jobs.has_open(connection, deployment) or _is_under_way(connection, deployment)
        ),
        pairs=pairs,
        cars=cars,
        fewest_manoeuvres=fewest,
        known=() if model is None else _known(connection, model, policy),
        failures=failures,
        failed_utc_us=failed_utc_us,
        now_utc_us=now_utc_us,
        retrained_utc_us=_retrained(connection, deployment, now_utc_us - policy.budget_us),
    )


def _first_lessons(connection: Connection, deployment: str, policy: Policy) -> tuple[int, int, int]:
    """Return pairs, cars and the fewest manoeuvres of one, as far as they can matter yet."""
    pairs = situation.trainable_pairs(
        connection, deployment=deployment, since=0, limit=policy.first_pairs
    )
    if pairs < policy.first_pairs:
        return pairs, 0, 0
    return pairs, *situation.cars_that_drove(connection, deployment)


def _known(connection: Connection, model: Row[Any], policy: Policy) -> tuple[Known, ...]:
    query = (
        select(verdicts)
        .filter_by(deployment=model.deployment, model=model.sha256)
        .where(verdicts.c.cleared_utc_us.is_(None))
        .order_by(verdicts.c.id)
        .limit(_MOST_VERDICTS)
    )
    return tuple(_verdict(connection, row, policy) for row in connection.execute(query).all())


def _verdict(connection: Connection, row: Row[Any], policy: Policy) -> Known:
    failures, failed_utc_us = _failures(connection, row.deployment, row.id)
    is_counted = row.hurts
    return Known(
        verdict=row.id,
        cause=row.cause,
        hurts=row.hurts,
        is_estimate=row.is_estimate,
        reason=row.reason,
        error=row.error,
        normal=row.normal,
        pairs=situation.trainable_pairs(
            connection,
            deployment=row.deployment,
            since=row.since_sample,
            limit=policy.retrain_pairs,
        )
        if is_counted
        else 0,
        manoeuvres=situation.manoeuvres_since(
            connection, row.deployment, row.since_sample, limit=policy.retrain_manoeuvres
        )
        if is_counted
        else 0,
        word=_word(connection, row.id),
        failures=failures,
        failed_utc_us=failed_utc_us,
    )


def _failures(connection: Connection, deployment: str, verdict: int | None) -> tuple[int, int]:
    row = connection.execute(
        select(func.count(), func.max(training_jobs.c.changed_utc_us)).where(
            training_jobs.c.deployment == deployment,
            training_jobs.c.state.in_(("failed", "cancelled")),
            training_jobs.c.verdict.is_not_distinct_from(verdict),
        )
    ).one()
    return row[0], row[1] or 0


def _word(connection: Connection, verdict: int) -> Word | None:
    """Return what a person last said about a verdict."""
    said: Word | None = connection.scalar(
        select(decisions.c.kind)
        .where(decisions.c.verdict == verdict, decisions.c.kind.in_(("approve", "veto")))
        .order_by(decisions.c.id.desc())
        .limit(1)
    )
    return said


def _retrained(connection: Connection, deployment: str, since_utc_us: int) -> tuple[int, ...]:
    query = select(training_jobs.c.created_utc_us).where(
        training_jobs.c.deployment == deployment,
        training_jobs.c.verdict.is_not(None),
        training_jobs.c.state != "failed",
        training_jobs.c.created_utc_us >= since_utc_us,
    )
    return tuple(connection.scalars(query))


def _count_models(connection: Connection, deployment: str) -> int:
    query = select(func.count()).select_from(models).where(models.c.deployment == deployment)
    return connection.scalar(query) or 0


def _is_news(connection: Connection, decision: Decision) -> bool:
    """Tell whether a decision about a verdict is another than the last that was written down."""
    if decision.verdict is None:
        return False
    last = connection.scalar(
        select(decisions.c.kind)
        .where(decisions.c.verdict == decision.verdict, decisions.c.actor == logbook.CONTROL)
        .order_by(decisions.c.id.desc())
        .limit(1)
    )
    # While its job runs, and after it, a retraining is what was decided.
    return last != decision.kind and not (last == "retrain" and decision.kind == "wait")


def _carry_out(
    connection: Connection, deployment: str, news: list[Decision], now_utc_us: int
) -> None:
    for decision in news:
        number = logbook.write(
            connection,
            utc_us=now_utc_us,
            deployment=deployment,
            kind=decision.kind,
            reason=decision.reason,
            evidence=decision.evidence,
            verdict=decision.verdict,
        )
        logger.info("decided kind=%s reason=%r", decision.kind, decision.reason)
        if decision.kind in retraining.TRAINS:
            jobs.open_job(
                connection,
                deployment=deployment,
                reason=decision.reason,
                decision=number,
                verdict=decision.verdict,
                utc_us=now_utc_us,
            )
