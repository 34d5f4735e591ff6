"""Training jobs: the queue for workers, and its state for everybody."""

from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Response
from sqlalchemy import select

from fleet_server import logbook
from fleet_server.api.access import Guarded, Operator, ReaderOrTrainer, Trainer
from fleet_server.api.bodies import Because, JobClaim, JobFailure, JobProgress, NewJob
from fleet_server.api.context import Context, Served
from fleet_server.api.filters import OfDeployment, RowId
from fleet_server.api.links import of_first, of_made
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.api.streams import DOCUMENTED, respond
from fleet_server.reading.views import JobView, Page
from fleet_server.storage.tables import deployments
from fleet_server.training import jobs, pairs
from shared.errors import RefusedError

router = APIRouter(
    prefix="/api/v1",
    tags=["training"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)


@dataclass(frozen=True, kw_only=True)
class ClaimedJob:
    """A job as its worker gets it; it is lost after `lease_s` of silence.

    `trials` is how many settings it shall try, 0 for one training as the worker sees fit.
    """

    id: int
    deployment: str
    task: dict[str, Any]
    reason: str
    decision: int
    attempt: int
    release_seq: int
    cut_sample: int
    cut_picture: int
    trials: int
    lease_s: float


@router.get(
    "/training-jobs",
    responses=of_first(
        (
            "get_job",
            "follow_job",
            "get_pairs",
            "list_runs_of_job",
            "list_artefacts",
            "get_job_lineage",
        ),
        number="id",
    ),
)
def list_jobs(
    context: Served,
    _who: ReaderOrTrainer,
    cursor: Cursor = 0,
    limit: Limit = 100,
    *,
    deployment: OfDeployment = None,
) -> Page[JobView]:
    """List the training jobs."""
    found = context.queries.training_jobs(deployment=deployment, after=cursor, limit=limit)
    return page(found, limit)


@router.post(
    "/training-jobs",
    status_code=201,
    responses={**of_made(("get_job", "get_job_lineage"), number="id"), **documented(409)},
)
def create_job(body: NewJob, context: Served, who: Operator) -> JobView:
    """Ask for a training, for a reason that goes into the log book."""
    now = context.clock.utc_us()
    with context.database.write() as connection:
        if connection.scalar(select(deployments.c.id).filter_by(name=body.deployment)) is None:
            raise RefusedError(f"there is no deployment {body.deployment}")
        decision = logbook.write(
            connection,
            utc_us=now,
            deployment=body.deployment,
            kind="train-by-hand",
            reason=body.reason,
            actor=who.name,
        )
        number = jobs.open_job(
            connection,
            deployment=body.deployment,
            reason=body.reason,
            decision=decision,
            verdict=None,
            utc_us=now,
            trials=body.trials,
        )
    return _job(context, number)


@router.post(
    "/training-jobs/claim",
    response_model=ClaimedJob,
    responses={204: {"description": "There is nothing to do."}},
)
def claim_job(body: JobClaim, context: Served, _who: Trainer) -> ClaimedJob | Response:
    """Take the oldest job that waits or whose worker fell silent."""
    lease_s = context.settings.lease_s
    with context.database.write() as connection:
        claim = jobs.claim(
            connection,
            worker=body.worker,
            utc_us=context.clock.utc_us(),
            lease_us=round(lease_s * 1e6),
            most=context.settings.job_claims,
        )
        if claim is None:
            return Response(status_code=204)
        task = connection.scalar(select(deployments.c.task).filter_by(name=claim.deployment))
    return ClaimedJob(
        id=claim.id,
        deployment=claim.deployment,
        task=msgspec.json.decode(task or b"{}"),
        reason=claim.reason,
        decision=claim.decision,
        attempt=claim.attempt,
        release_seq=claim.release_seq,
        cut_sample=claim.cut_sample,
        cut_picture=claim.cut_picture,
        trials=claim.trials,
        lease_s=lease_s,
    )


@router.get("/training-jobs/{number:int}", responses=documented(404))
def get_job(number: RowId, context: Served, _who: ReaderOrTrainer) -> JobView:
    """Return one training job."""
    return _job(context, number)


@router.get(
    "/training-jobs/{number}/events",
    response_class=Response,
    responses={**DOCUMENTED, **documented(404)},
)
def follow_job(number: RowId, context: Served, _who: ReaderOrTrainer) -> Response:
    """Follow a training job: an event for each change, until it has ended."""
    _job(context, number)
    return respond(context, lambda: _job(context, number), lambda job: job.state in jobs.ENDED)


@router.post("/training-jobs/{number}/progress", responses=documented(404, 409))
def report_progress(number: RowId, body: JobProgress, context: Served, _who: Trainer) -> JobView:
    """Tell how far a job is, which renews its lease."""
    with context.database.write() as connection:
        jobs.progress(
            connection,
            number,
            stage=body.stage,
            fraction=body.fraction,
            message=body.message,
            attempt=body.attempt,
            utc_us=context.clock.utc_us(),
            lease_us=round(context.settings.lease_s * 1e6),
        )
    return _job(context, number)


@router.post("/training-jobs/{number}/fail", responses=documented(404, 409))
def report_failure(number: RowId, body: JobFailure, context: Served, _who: Trainer) -> JobView:
    """End a job without a model; the policy decides whether it is tried again."""
    with context.database.write() as connection:
        jobs.fail(
            connection,
            number,
            reason=body.reason,
            attempt=body.attempt,
            utc_us=context.clock.utc_us(),
        )
    return _job(context, number)


@router.post("/training-jobs/{number}/cancel", responses=documented(404, 409))
def cancel_job(number: RowId, body: Because, context: Served, who: Operator) -> JobView:
    """End a job that waits or runs; its worker hears of it with its next word.

    The policy counts it as a failure, and may ask again; veto the verdict to have nothing done.
    """
    now = context.clock.utc_us()
    with context.database.write() as connection:
        said = f"cancelled by {who.name}: {body.reason}"
        row = jobs.cancel(connection, number, reason=said, utc_us=now)
        logbook.write(
            connection,
            utc_us=now,
            deployment=row.deployment,
            kind="cancel-training",
            reason=body.reason,
            actor=who.name,
            evidence={"job": number, "state": row.state, "worker": row.worker},
            verdict=row.verdict,
        )
    return _job(context, number)


@router.get(
    "/training-jobs/{number}/pairs",
    response_class=Response,
    responses={200: {"content": {"application/x-msgpack": {}}}, **documented(404, 409)},
)
def get_pairs(number: RowId, context: Served, _who: Trainer, cursor: Cursor = 0) -> Response:
    """Return the next pairs that a running job learns from, with their pictures, as msgpack."""
    with context.database.read() as connection:
        row = jobs.held(connection, number, attempt=None)
        body = pairs.page(connection, row, objects=context.database.objects, after=cursor)
    return Response(body, media_type="application/x-msgpack")


def _job(context: Context, number: int) -> JobView:
    found = context.queries.training_jobs(after=number - 1, limit=1)
    if not found or found[0].id != number:
        raise HTTPException(404, f"there is no training job {number}")
    return found[0]
