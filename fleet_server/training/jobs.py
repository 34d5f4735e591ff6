"""The queue of training jobs: who works on what, until when.

Laws:
- a deployment has at most one open job, which the database itself enforces;
- a claim is a lease: a worker that falls silent loses the job to the next one that asks, and what
  it sends after that is refused, since each claim has its own `release_seq`;
- a job that its workers fell silent on again and again is what kills them: it ends as failed;
- a job that a person cancels is lost to its worker, which hears of it with its next word;
- a job learns from rows up to its cut and from no later ones, so that its data set can be named;
- each change is one transaction that ends in a state from which work goes on.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update
from sqlalchemy.sql import ColumnElement

from fleet_server.storage import trust
from fleet_server.storage.tables import models, pictures, samples, training_jobs
from shared.errors import RefusedError

_OPEN = ("queued", "running")

ENDED = frozenset({"done", "failed", "cancelled"})
"""States that a job does not leave."""


class JobError(RefusedError):
    """The job is not in a state for this: it was handed on, ended, or is another's."""


class MissingJobError(JobError):
    """There is no job of that id."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job as handed to a worker; the cuts are the last row ids that it may learn from."""

    id: int
    deployment: str
    reason: str
    decision: int
    attempt: int
    release_seq: int
    cut_sample: int
    cut_picture: int
    trials: int


def open_job(
    connection: Connection,
    *,
    deployment: str,
    reason: str,
    decision: int,
    verdict: int | None,
    utc_us: int,
    trials: int = 0,
) -> int:
    """Queue a job; return its id. `trials` is how many settings it shall try, 0 for no search.

    Raises:
        JobError: the deployment has an open job.
    """
    if has_open(connection, deployment):
        raise JobError(f"{deployment} has an open training job already")
    statement = insert(training_jobs).values(
        deployment=deployment,
        reason=reason,
        decision=decision,
        verdict=verdict,
        state="queued",
        created_utc_us=utc_us,
        changed_utc_us=utc_us,
        trials=trials,
    )
    return int(connection.execute(statement.returning(training_jobs.c.id)).scalar_one())


def has_open(connection: Connection, deployment: str) -> bool:
    """Tell whether a job of `deployment` is queued or running."""
    query = select(training_jobs.c.id).where(
        training_jobs.c.deployment == deployment, training_jobs.c.state.in_(_OPEN)
    )
    return connection.scalar(query) is not None


def claim(
    connection: Connection, *, worker: str, utc_us: int, lease_us: int, most: int = 3
) -> Claim | None:
    """Hand the oldest job that waits, or whose worker fell silent, to `worker`; None if none.

    A job is handed out `most` times.
    """
    silent = _is_silent(utc_us) & (training_jobs.c.attempt < most)
    query = (
        select(training_jobs)
        .where(
            or_(
                training_jobs.c.state == "queued",
                (training_jobs.c.state == "running") & silent,
            )
        )
        .order_by(training_jobs.c.id)
        .limit(1)
    )
    job = connection.execute(query).one_or_none()
    if job is None:
        return None
    claimed = Claim(
        id=job.id,
        deployment=job.deployment,
        reason=job.reason,
        decision=job.decision,
        attempt=job.attempt + 1,
        release_seq=_next_release(connection, job.deployment),
        cut_sample=connection.scalar(select(func.max(samples.c.id))) or 0,
        cut_picture=connection.scalar(select(func.max(pictures.c.id))) or 0,
        trials=job.trials,
    )
    _change(
        connection,
        job.id,
        state="running",
        worker=worker,
        attempt=claimed.attempt,
        lease_until_utc_us=utc_us + lease_us,
        release_seq=claimed.release_seq,
        cut_sample=claimed.cut_sample,
        cut_picture=claimed.cut_picture,
        cut_distrust=trust.cut(connection),
        changed_utc_us=utc_us,
        stage="claimed",
        fraction=0.0,
        message="",
    )
    return claimed


def worn_out(connection: Connection, deployment: str, *, utc_us: int, most: int) -> Row[Any] | None:
    """Return the job of a deployment that was handed out `most` times, always to fall silent."""
    query = select(training_jobs).where(
        training_jobs.c.deployment == deployment,
        training_jobs.c.state == "running",
        training_jobs.c.attempt >= most,
        _is_silent(utc_us),
    )
    return connection.execute(query).one_or_none()


def progress(
    connection: Connection,
    job: int,
    *,
    stage: str,
    fraction: float,
    message: str,
    attempt: int | None,
    utc_us: int,
    lease_us: int,
) -> None:
    """Note how far a running job is, and renew its lease.

    Raises:
        JobError: the job is not running, or `attempt` is given and is not the current claim.
    """
    held(connection, job, attempt=attempt)
    _change(
        connection,
        job,
        stage=stage,
        fraction=fraction,
        message=message,
        lease_until_utc_us=utc_us + lease_us,
        changed_utc_us=utc_us,
    )


def fail(
    connection: Connection, job: int, *, reason: str, attempt: int | None, utc_us: int
) -> None:
    """End a running job without a model.

    Raises:
        JobError: the job is not running, or `attempt` is given and is not the current claim.
    """
    held(connection, job, attempt=attempt)
    _change(connection, job, state="failed", message=reason, changed_utc_us=utc_us)


def cancel(connection: Connection, job: int, *, reason: str, utc_us: int) -> Row[Any]:
    """End a job that waits or runs, without a model; return its row as it was.

    Raises:
        JobError: it has ended already.
    """
    row = find(connection, job)
    if row.state not in _OPEN:
        raise JobError(f"training job {job} is {row.state} already")
    _change(connection, job, state="cancelled", message=reason, changed_utc_us=utc_us)
    return row


def finish(
    connection: Connection, *, deployment: str, release_seq: int, model: str, utc_us: int
) -> int | None:
    """End the job that was to make release `release_seq` with its model; return its id, if any."""
    query = select(training_jobs).where(
        training_jobs.c.deployment == deployment, training_jobs.c.release_seq == release_seq
    )
    job = connection.execute(query).one_or_none()
    if job is None:
        return None
    done = {"state": "done", "stage": "registered", "fraction": 1.0, "message": ""}
    _change(connection, job.id, **done, model=model, changed_utc_us=utc_us)
    return int(job.id)


def find(connection: Connection, job: int) -> Row[Any]:
    """Return the row of a job.

    Raises:
        MissingJobError: there is none of that id.
    """
    row = connection.execute(select(training_jobs).filter_by(id=job)).one_or_none()
    if row is None:
        raise MissingJobError(f"there is no training job {job}")
    return row


def held(connection: Connection, job: int, *, attempt: int | None) -> Row[Any]:
    """Return the row of a running job.

    Raises:
        JobError: it is not running, or `attempt` is given and is not the current claim.
    """
    row = find(connection, job)
    if row.state != "running" or attempt not in (None, row.attempt):
        raise JobError(f"training job {job} is {row.state}, attempt {row.attempt}")
    return row


def of_release(connection: Connection, job: int, model: str) -> Row[Any]:
    """Return the row of a job whose `model` may be registered: running, or done with that model.

    Raises:
        JobError: it is neither.
    """
    row = connection.execute(
        select(training_jobs).filter_by(id=job, state="done", model=model)
    ).one_or_none()
    return held(connection, job, attempt=None) if row is None else row


def _next_release(connection: Connection, deployment: str) -> int:
    """Return a release number above every one promised or used in the deployment."""
    used = [
        connection.scalar(
            select(func.max(table.c.release_seq)).where(table.c.deployment == deployment)
        )
        for table in (models, training_jobs)
    ]
    return max(each or 0 for each in used) + 1


def _is_silent(utc_us: int) -> ColumnElement[bool]:
    return training_jobs.c.lease_until_utc_us < utc_us


def _change(connection: Connection, job: int, **values: object) -> None:
    connection.execute(update(training_jobs).where(training_jobs.c.id == job).values(values))
