"""What training workers hand in beside a model: records of runs, and files."""

from typing import Annotated

from fastapi import APIRouter, Body, HTTPException, Path, Query, Response

from fleet_server.api.access import Guarded, ReaderOrTrainer, Trainer
from fleet_server.api.bodies import NamePattern, NewRun
from fleet_server.api.context import Served
from fleet_server.api.filters import MAX_NUMBER, RowId
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.reading.views import Page
from fleet_server.training import jobs, runs
from fleet_server.training.runs import ArtefactView, RunRecord, RunView, StepView

router = APIRouter(
    prefix="/api/v1/training-jobs/{number}",
    route_class=Guarded,
    tags=["training"],
    responses=documented(400, 401, 403, 404, 413, 422, 503),
)

FileName = Annotated[str, Path(pattern=NamePattern, max_length=64, examples=["evaluation.json"])]
Attempt = Annotated[int, Path(ge=1, le=MAX_NUMBER, examples=[1])]


@router.post("/runs", status_code=201, responses=documented(409))
def tell_run(number: RowId, body: NewRun, context: Served, _who: Trainer) -> RunView:
    """Tell of a run of a job that you hold: what it was made of, and what came of it."""
    record = RunRecord(
        parameters=dict(body.parameters),
        metrics=dict(body.metrics),
        versions=dict(body.versions),
        steps=tuple(StepView(**each.model_dump()) for each in body.steps),
        model=body.model,
        refusal=body.refusal,
    )
    with context.database.write() as connection:
        return runs.write(
            connection,
            number,
            record,
            run=body.run,
            attempt=body.attempt,
            experiment=body.experiment,
            dataset_sha256=body.dataset_sha256,
            utc_us=context.clock.utc_us(),
        )


@router.get("/runs")
def list_runs_of_job(
    number: RowId,
    context: Served,
    _who: ReaderOrTrainer,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[RunView]:
    """List the runs of a job."""
    with context.database.read() as connection:
        jobs.find(connection, number)
        found = runs.listed(connection, job=number, after=cursor, limit=limit)
    return page(found, limit)


@router.get("/artefacts")
def list_artefacts(
    number: RowId,
    context: Served,
    _who: ReaderOrTrainer,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[ArtefactView]:
    """List the files of a job, of all attempts at it: a worker may go on from an earlier one."""
    with context.database.read() as connection:
        jobs.find(connection, number)
        found = runs.files(connection, number, after=cursor, limit=limit)
    return page(found, limit)


@router.put("/artefacts/{name}", responses=documented(409, 413))
def put_artefact(
    number: RowId,
    name: FileName,
    context: Served,
    _who: Trainer,
    attempt: Annotated[int, Query(ge=1, le=MAX_NUMBER, description="That of the claim.")],
    body: Annotated[bytes, Body(media_type="application/octet-stream")] = b"",
) -> ArtefactView:
    """Hand in a file of a job that you hold, at most 8 MiB; doing so again changes nothing."""
    with context.database.write() as connection:
        return runs.keep(
            connection, number, name, body, attempt=attempt, utc_us=context.clock.utc_us()
        )


@router.get(
    "/artefacts/{attempt}/{name}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def get_artefact(
    number: RowId, attempt: Attempt, name: FileName, context: Served, _who: ReaderOrTrainer
) -> Response:
    """Return a file of a job."""
    with context.database.read() as connection:
        found = runs.content(connection, number, attempt, name)
    if found is None:
        raise HTTPException(404, f"attempt {attempt} at job {number} has no file {name}")
    return Response(
        found.body, media_type="application/octet-stream", headers={"ETag": f'"{found.sha256}"'}
    )
