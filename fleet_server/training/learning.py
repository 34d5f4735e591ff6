"""From stored pairs to verdicts and training jobs: steps of the control loop.

Laws:
- a step reads and decides; what it returns writes, in the same transaction;
- `drift.measured_error` and `retraining` hold the rules;
- one verdict of a kind about a model, and one decision with each job.
"""

import logging
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from fleet_server import logbook
from fleet_server.drift import measured_error
from fleet_server.drift.measured_error import Reference, Rise, Rule
from fleet_server.settings import ServerSettings
from fleet_server.storage import situation
from fleet_server.storage.database import Change
from fleet_server.storage.tables import deployments, models, training_jobs, verdicts
from fleet_server.training import jobs, retraining
from fleet_server.training.retraining import Decision, Harm, Policy, Situation
from shared.manifest import Manifest

logger = logging.getLogger(__name__)

_TEST_ERROR = "test_mae"
_NO_TEST_ERROR_OF_SPAN = 0.1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The numbers of all rules about learning."""

    error: Rule
    training: Policy
    timeout_us: int
    claims: int


def rules(settings: ServerSettings) -> Rules:
    """Return the rules as an operator set them."""
    return Rules(
        error=Rule(
            factor=settings.error_factor,
            margin=settings.error_margin,
            window=settings.error_window,
            reference_manoeuvres=settings.reference_manoeuvres,
        ),
        training=Policy(
            first_pairs=settings.first_training_pairs,
            first_manoeuvres=settings.first_training_manoeuvres,
            retrain_pairs=settings.retrain_pairs,
            attempts=settings.job_attempts,
            pause_us=round(settings.job_pause_s * 1e6),
        ),
        timeout_us=round(settings.manoeuvre_timeout_s * 1e6),
        claims=settings.job_claims,
    )


def judge(connection: Connection, deployment: str, now_utc_us: int, by: Rules) -> Change | None:
    """Measure the latest model's error: whether it has risen, and from what reference."""
    model = _latest(connection, deployment)
    if model is None or _verdict(connection, model) is not None:
        return None
    before = now_utc_us - by.timeout_us
    manifest = msgspec.json.decode(model.manifest, type=Manifest)
    reference = _reference(model, manifest)
    errors = situation.manoeuvre_errors(connection, model, received_before_utc_us=before)
    found = measured_error.rise(errors, reference, by.error)
    if found is not None:
        return lambda c: _convict(c, model, found, manifest.task.unit, now_utc_us)
    wanted = by.error.reference_manoeuvres
    if reference.origin == "field" or len(errors) < wanted:
        return None
    first = situation.manoeuvre_errors(
        connection, model, received_before_utc_us=before, first=wanted
    )
    field = measured_error.field_reference(first, reference, by.error)
    return None if field is None else lambda c: _set_reference(c, model, field)


def train(connection: Connection, deployment: str, now_utc_us: int, by: Rules) -> Change | None:
    """Queue a training job where the policy asks for one."""
    if jobs.has_open(connection, deployment) or _is_under_way(connection, deployment):
        return None
    decision = retraining.decide(
        _situation(connection, deployment, now_utc_us, by.training), by.training
    )
    if decision is None:
        return None
    return lambda c: _queue(c, deployment, decision, now_utc_us)


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

    Another one for the same cause would meet the same cars.
    """
    newest = select(models.c.sha256).filter_by(deployment=deployment)
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


def _verdict(connection: Connection, model: Row[Any]) -> Row[Any] | None:
    return connection.execute(
        select(verdicts).filter_by(
            deployment=model.deployment, model=model.sha256, kind=measured_error.KIND
        )
    ).one_or_none()


def _reference(model: Row[Any], manifest: Manifest) -> Reference:
    """Return what the model's error is compared with: its own in the field once that is known."""
    if model.reference_mae is not None:
        return Reference(mae=model.reference_mae, origin="field")
    # A manifest without a test error is held to a tenth of the range until the field has spoken.
    unknown = _NO_TEST_ERROR_OF_SPAN * manifest.task.span
    return Reference(mae=manifest.metrics.get(_TEST_ERROR, unknown), origin="test")


def _set_reference(connection: Connection, model: Row[Any], found: Reference) -> None:
    connection.execute(
        update(models).where(models.c.id == model.id).values(reference_mae=found.mae)
    )
    logger.info("reference model=%s mae=%.2f", model.sha256, found.mae)


def _convict(
    connection: Connection, model: Row[Any], found: Rise, unit: str, now_utc_us: int
) -> None:
    reason = found.reason(unit)
    connection.execute(
        insert(verdicts).values(
            utc_us=now_utc_us,
            deployment=model.deployment,
            model=model.sha256,
            kind=measured_error.KIND,
            reason=reason,
            evidence=msgspec.json.encode(found.evidence()).decode(),
            since_sample=found.since_sample,
        )
    )
    logger.warning("verdict model=%s reason=%r", model.sha256, reason)


def _situation(
    connection: Connection, deployment: str, now_utc_us: int, policy: Policy
) -> Situation:
    model = _latest(connection, deployment)
    harm = _harm(connection, model, policy) if model is not None else None
    cause = training_jobs.c.verdict.is_not_distinct_from(harm.verdict if harm else None)
    failures = connection.execute(
        select(func.count(), func.max(training_jobs.c.changed_utc_us)).where(
            training_jobs.c.deployment == deployment, training_jobs.c.state == "failed", cause
        )
    ).one()
    return Situation(
        models=_count_models(connection, deployment),
        open_jobs=0,
        pairs=situation.trainable_pairs(
            connection, deployment=deployment, since=0, limit=policy.first_pairs
        )
        if model is None
        else 0,
        manoeuvres=situation.manoeuvres_by_car(connection, deployment) if model is None else {},
        harm=harm,
        failures=failures[0],
        failed_utc_us=failures[1] or 0,
        now_utc_us=now_utc_us,
    )


def _harm(connection: Connection, model: Row[Any], policy: Policy) -> Harm | None:
    verdict = _verdict(connection, model)
    if verdict is None:
        return None
    pairs = situation.trainable_pairs(
        connection,
        deployment=model.deployment,
        since=verdict.since_sample,
        limit=policy.retrain_pairs,
    )
    return Harm(verdict=verdict.id, reason=verdict.reason, pairs_since=pairs)


def _count_models(connection: Connection, deployment: str) -> int:
    query = select(func.count()).select_from(models).where(models.c.deployment == deployment)
    return connection.scalar(query) or 0


def _queue(connection: Connection, deployment: str, decision: Decision, now_utc_us: int) -> None:
    number = logbook.write(
        connection,
        utc_us=now_utc_us,
        deployment=deployment,
        kind=decision.kind,
        reason=decision.reason,
        evidence=decision.evidence,
        verdict=decision.verdict,
    )
    jobs.open_job(
        connection,
        deployment=deployment,
        reason=decision.reason,
        decision=number,
        verdict=decision.verdict,
        utc_us=now_utc_us,
    )
    logger.info("training_asked deployment=%s reason=%r", deployment, decision.reason)
