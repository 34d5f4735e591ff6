"""What workers tell of their runs: a record each, and the files that go with it.

Laws:
- a record is written once by whoever holds the job, and never changed: saying the same again
  changes nothing, saying something else under the same name is refused;
- a record holds what its model can be made again from: the data set's digest, every parameter, the
  versions of what ran, and the steps with the digests of what they read and made;
- files are bounded in number and size, and named within their attempt at the job.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Row, func, select

from fleet_server.storage.pages import equal, fields, page, views
from fleet_server.storage.report_tables import artefacts, runs
from fleet_server.storage.upsert import insert
from fleet_server.training import jobs
from fleet_server.training.jobs import JobError
from shared.ids import sha256_hex

V = TypeVar("V")

MAX_ARTEFACT_BYTES = 8 * 1024 * 1024
MAX_ARTEFACTS = 64
"""Files of one attempt at a job."""


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step of a run: digests of what it read and made, by name; how long it took, if told."""

    name: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    parameters: dict[str, str]
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run was made of, and what came of it.

    `model` is the digest of what it made, if it was told; `refusal` says why that was refused by
    the worker's gates, signed by nobody, and goes nowhere: empty where it was not.
    """

    parameters: dict[str, str]
    metrics: dict[str, float]
    versions: dict[str, str]
    steps: tuple[StepView, ...]
    model: str | None = None
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as its worker told of it; `run` is its id in the worker's notebook.

    `model` and `refusal` as in `RunRecord`: a model that a gate refused is known here alone.
    """

    id: int
    run: str
    job: int
    attempt: int
    experiment: str
    deployment: str
    dataset_sha256: str
    utc_us: int
    parameters: dict[str, str]
    metrics: dict[str, float]
    versions: dict[str, str]
    steps: tuple[StepView, ...]
    model: str | None
    refusal: str


@dataclass(frozen=True, kw_only=True)
class ArtefactView:
    """A file that a worker handed in."""

    id: int
    job: int
    attempt: int
    name: str
    sha256: str
    size_bytes: int
    utc_us: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs side by side: what is the same in all, and what differs, by name and in their order.

    None stands where a run has no such parameter, metric or version.
    """

    runs: tuple[str, ...]
    same_dataset: bool
    same: dict[str, str]
    parameters: dict[str, tuple[str | None, ...]]
    versions: dict[str, tuple[str | None, ...]]
    metrics: dict[str, tuple[float | None, ...]]


def write(
    connection: Connection,
    job: int,
    record: RunRecord,
    *,
    run: str,
    attempt: int,
    experiment: str,
    dataset_sha256: str,
    utc_us: int,
) -> RunView:
    """Keep the record of a run of a running job, in the open transaction.

    Raises:
        JobError: the job is not running under that attempt, or the run is known otherwise.
    """
    row = jobs.held(connection, job, attempt=attempt)
    told = {
        "run": run,
        "job": job,
        "attempt": attempt,
        "experiment": experiment,
        "deployment": row.deployment,
        "dataset_sha256": dataset_sha256,
        "record": msgspec.json.encode(record, order="sorted").decode(),
    }
    connection.execute(
        insert(connection, runs).values(**told, utc_us=utc_us).on_conflict_do_nothing()
    )
    kept = connection.execute(select(runs).filter_by(run=run)).one()
    if any(getattr(kept, name) != value for name, value in told.items()):
        raise JobError(f"run {run} was told of already, and otherwise")
    return _view(kept)


def keep(
    connection: Connection, job: int, name: str, body: bytes, *, attempt: int, utc_us: int
) -> ArtefactView:
    """Keep a file of a running job, in the open transaction.

    Raises:
        JobError: the job is not running under that attempt, has files enough, or has another of
            that name.
    """
    jobs.held(connection, job, attempt=attempt)
    of_attempt = equal(artefacts, job=job, attempt=attempt)
    count = connection.scalar(select(func.count()).select_from(artefacts).where(*of_attempt)) or 0
    sha256 = sha256_hex(body)
    kept = _artefacts(connection, job, attempt, name)
    if not kept and count >= MAX_ARTEFACTS:
        raise JobError(f"attempt {attempt} of job {job} has {count} files, which is the most")
    if not kept:
        connection.execute(
            insert(connection, artefacts).values(
                job=job,
                attempt=attempt,
                name=name,
                sha256=sha256,
                size_bytes=len(body),
                utc_us=utc_us,
                body=body,
            )
        )
        kept = _artefacts(connection, job, attempt, name)
    if kept[0].sha256 != sha256:
        raise JobError(f"job {job} has another file {name} in attempt {attempt}")
    return kept[0]


def attach(connection: Connection, job: int, name: str, body: bytes, *, utc_us: int) -> None:
    """Keep a file that the server made beside those of a job's last attempt; the first one stays.

    Raises:
        MissingJobError: there is no such job.
    """
    statement = insert(connection, artefacts).values(
        job=job,
        attempt=jobs.find(connection, job).attempt,
        name=name,
        sha256=sha256_hex(body),
        size_bytes=len(body),
        utc_us=utc_us,
        body=body,
    )
    connection.execute(statement.on_conflict_do_nothing())


def files(
    connection: Connection, job: int, *, after: int = 0, limit: int = 1000
) -> tuple[ArtefactView, ...]:
    """Return the files of all attempts at a job, by row id."""
    columns = [artefacts.c[name] for name in ArtefactView.__dataclass_fields__]
    query = select(*columns).where(artefacts.c.job == job)
    return views(ArtefactView, page(connection, query, artefacts, after, limit))


def content(connection: Connection, job: int, attempt: int, name: str) -> Any:
    """Return the row of a file, with `sha256` and `body`, or None."""
    query = select(artefacts.c.sha256, artefacts.c.body)
    return connection.execute(query.filter_by(job=job, attempt=attempt, name=name)).one_or_none()


def listed(
    connection: Connection,
    *,
    run: str | None = None,
    job: int | None = None,
    experiment: str | None = None,
    dataset_sha256: str | None = None,
    after: int = 0,
    limit: int = 100,
) -> tuple[RunView, ...]:
    """Return runs by row id."""
    wanted = equal(runs, run=run, job=job, experiment=experiment, dataset_sha256=dataset_sha256)
    rows = page(connection, select(runs).where(*wanted), runs, after, limit)
    return tuple(_view(row) for row in rows)


def compare(found: list[RunView]) -> Comparison:
    """Return `found` side by side."""
    parameters = _beside([each.parameters for each in found])
    versions = _beside([each.versions for each in found])
    return Comparison(
        runs=tuple(each.run for each in found),
        same_dataset=len({each.dataset_sha256 for each in found}) == 1,
        same={
            name: values[0] or ""
            for name, values in (parameters | versions).items()
            if len(set(values)) == 1
        },
        parameters={name: each for name, each in parameters.items() if len(set(each)) > 1},
        versions={name: each for name, each in versions.items() if len(set(each)) > 1},
        metrics=_beside([each.metrics for each in found]),
    )


def _beside(found: list[dict[str, V]]) -> dict[str, tuple[V | None, ...]]:
    names = sorted({name for each in found for name in each})
    return {name: tuple(each.get(name) for each in found) for name in names}


def _artefacts(
    connection: Connection, job: int, attempt: int, name: str
) -> tuple[ArtefactView, ...]:
    columns = [artefacts.c[each] for each in ArtefactView.__dataclass_fields__]
    query = select(*columns).filter_by(job=job, attempt=attempt, name=name)
    return views(ArtefactView, connection.execute(query).all())


def _view(row: Row[Any]) -> RunView:
    record = msgspec.json.decode(row.record, type=RunRecord)
    told = {"parameters", "metrics", "versions", "steps", "model", "refusal"}
    return RunView(
        **fields(row, RunView, skip=told),
        parameters=record.parameters,
        metrics=record.metrics,
        versions=record.versions,
        steps=record.steps,
        model=record.model,
        refusal=record.refusal,
    )
