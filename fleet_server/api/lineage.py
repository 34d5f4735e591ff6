"""Where everything comes from and where it went: one call a question."""

from typing import Annotated, TypeVar

from fastapi import APIRouter, HTTPException, Query

from fleet_server.api.access import Guarded, ReaderOrTrainer
from fleet_server.api.bodies import NamePattern, NameText
from fleet_server.api.context import Context, Served
from fleet_server.api.filters import Boot, DeviceId, Digest, Number, RowId, RunId
from fleet_server.api.links import of_first
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.reading import descent, searches
from fleet_server.reading.descent import BatchDescent, BatchShare, SampleDescent
from fleet_server.reading.lineage import (
    AlertLineage,
    DatasetLineage,
    DecisionLineage,
    DeviceLineage,
    JobLineage,
    Lineage,
    ModelLineage,
)
from fleet_server.reading.views import Page, SampleView
from fleet_server.training import runs
from fleet_server.training.runs import Comparison, RunView
from shared.ids import SampleKey

router = APIRouter(
    prefix="/api/v1/lineage",
    tags=["lineage"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)

V = TypeVar("V")

Runs = Annotated[
    list[NameText],
    Query(min_length=2, max_length=20, description="The runs, two or more.", examples=[["a", "b"]]),
]
Experiment = Annotated[str, Query(pattern=NamePattern, max_length=64, examples=["wall-distance"])]


@router.get("/device/{device}", responses=documented(404))
def get_device_lineage(device: DeviceId, context: Served, _who: ReaderOrTrainer) -> DeviceLineage:
    """Return what a car has run, and where what it runs now comes from."""
    return _found(Lineage(context.database).of_device(device), f"no car is called {device}")


@router.get("/model/{sha256}", responses=documented(404))
def get_model_lineage(sha256: Digest, context: Served, _who: ReaderOrTrainer) -> ModelLineage:
    """Return a model's run with all its steps, job, decision, verdict and data, and its cars."""
    found = Lineage(context.database).of_model(sha256)
    return _found(found, f"no model {sha256} is registered")


@router.get("/job/{number}", responses=documented(404))
def get_job_lineage(number: RowId, context: Served, _who: ReaderOrTrainer) -> JobLineage:
    """Return why a training job was asked for, on what data, its runs, and the model it made."""
    return _found(Lineage(context.database).of_job(number), f"there is no training job {number}")


@router.get("/job/{number}/batches", responses=documented(404))
def list_batches_of_job(
    number: RowId,
    context: Served,
    _who: ReaderOrTrainer,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[BatchShare]:
    """List the batches in which the pairs of a job's data set arrived."""
    _require_job(context, number)
    found, following = descent.batches_of(context.database, number, after=cursor, limit=limit)
    return Page(items=found, next_cursor=None if following is None else str(following))


@router.get("/job/{number}/samples", responses=documented(404))
def list_samples_of_job(
    number: RowId,
    context: Served,
    _who: ReaderOrTrainer,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[SampleView]:
    """List the pairs of a job's data set, whose pictures are at `/samples/.../picture`."""
    _require_job(context, number)
    return _page_of(descent.pairs_of(context.database, number, after=cursor, limit=limit))


@router.get("/run/{run}", responses=documented(404))
def get_run_lineage(run: RunId, context: Served, _who: ReaderOrTrainer) -> JobLineage:
    """Return the pipeline run that a run belongs to: its job, decision, data, runs and model."""
    return _found(Lineage(context.database).of_run(run), f"nobody told of a run {run}")


@router.get("/runs", responses=of_first(("get_run_lineage",), run="run"))
def list_runs(
    context: Served,
    _who: ReaderOrTrainer,
    experiment: Experiment,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[RunView]:
    """List the runs of an experiment, each with its parameters, metrics and steps."""
    with context.database.read() as connection:
        found = runs.listed(connection, experiment=experiment, after=cursor, limit=limit)
    return page(found, limit)


@router.get("/compare", responses=documented(404))
def compare_runs(context: Served, _who: ReaderOrTrainer, run: Runs) -> Comparison:
    """Put runs side by side: parameters, versions and metrics, and whether the data is the same."""
    found = []
    with context.database.read() as connection:
        for name in run:
            told = runs.listed(connection, run=name, limit=1)
            found.append(_found(next(iter(told), None), f"nobody told of a run {name}"))
    return runs.compare(found)


@router.get("/dataset/{sha256}", responses=documented(404))
def get_dataset_lineage(sha256: Digest, context: Served, _who: ReaderOrTrainer) -> DatasetLineage:
    """Return all runs on a data set and all models trained on it."""
    found = Lineage(context.database).of_dataset(sha256)
    return _found(found, f"nothing was trained on a data set {sha256}")


@router.get("/sample/{device}/{boot}/{sequence}", responses=documented(404))
def get_sample_lineage(
    device: DeviceId, boot: Boot, sequence: Number, context: Served, _who: ReaderOrTrainer
) -> SampleDescent:
    """Return the batch that a pair came in, every model that learned from it, and their cars."""
    found = descent.of_sample(context.database, SampleKey(device, boot, sequence))
    return _found(found, "no such pair is stored")


@router.get("/batch/{sha256}", responses=documented(404))
def get_batch_lineage(sha256: Digest, context: Served, _who: ReaderOrTrainer) -> BatchDescent:
    """Return every model that learned from the pairs of a batch, and the cars that ran them."""
    return _found(descent.of_batch(context.database, sha256), f"no batch {sha256} is stored")


@router.get("/alert/{number}", responses=documented(404))
def get_alert_lineage(number: RowId, context: Served, _who: ReaderOrTrainer) -> AlertLineage:
    """Return an alert's verdict, its model with run and data set, and what was done about it."""
    return _found(Lineage(context.database).of_alert(number), f"there is no alert {number}")


@router.get("/alert/{number}/samples", responses=documented(404))
def list_samples_of_alert(
    number: RowId,
    context: Served,
    _who: ReaderOrTrainer,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[SampleView]:
    """List the pairs on which an alert about a model was found out."""
    found = get_alert_lineage(number, context, _who)
    if found.verdict is None or found.since_sample is None:
        return Page(items=(), next_cursor=None)
    wanted = searches.Wanted(
        deployment=found.verdict.deployment, until_utc_us=found.verdict.utc_us + 1
    )
    after = max(cursor, found.since_sample - 1)
    return _page_of(searches.find(context.database, wanted, after=after, limit=limit))


@router.get("/decision/{number}", responses=documented(404))
def get_decision_lineage(number: RowId, context: Served, _who: ReaderOrTrainer) -> DecisionLineage:
    """Return what an entry of the log book rests on, and what followed from it."""
    found = Lineage(context.database).of_decision(number)
    return _found(found, f"the log book has no entry {number}")


def _page_of(found: searches.Found) -> Page[SampleView]:
    following = None if found.next_after is None else str(found.next_after)
    return Page(items=found.items, next_cursor=following)


def _require_job(context: Context, number: int) -> None:
    found = context.queries.training_jobs(after=number - 1, limit=1)
    if not found or found[0].id != number:
        raise HTTPException(404, f"there is no training job {number}")


def _found(what: V | None, otherwise: str) -> V:
    if what is None:
        raise HTTPException(404, otherwise)
    return what
