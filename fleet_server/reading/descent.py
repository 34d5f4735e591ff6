"""Where pairs went: from a picture or a batch forward to every model and car.

Laws:
- a model has learned from a pair where its job's cuts include it: the same condition by which the
  pair was handed to the worker (`pairs`), so that what is named here is what was sent;
- a page over many pairs costs the same wherever it begins; see `searches`.
"""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.sql import ColumnElement

from fleet_server.reading import searches
from fleet_server.reading.searches import Found
from fleet_server.reading.views import BatchView, HistoryView, SampleView
from fleet_server.storage import trust
from fleet_server.storage.database import Database
from fleet_server.storage.pages import views
from fleet_server.storage.tables import (
    batches,
    model_history,
    models,
    of_a_pair,
    pictures,
    samples,
    training_jobs,
)
from shared.ids import SampleKey
from shared.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A model that learned from certain pairs, by which job, and the cars that ever ran it.

    `model` is None while the job has made none.
    """

    job: int
    state: str
    deployment: str
    model: str | None
    version: int | None
    run: str | None
    pairs: int
    cars: tuple[HistoryView, ...]


@dataclass(frozen=True, kw_only=True)
class SampleDescent:
    """A pair, the batch that its record came in, and who learned from it."""

    sample: SampleView
    batch: BatchView
    picture_batch: BatchView | None
    learners: tuple[Learner, ...]


@dataclass(frozen=True, kw_only=True)
class BatchDescent:
    """A batch, its pairs by deployment, and who learned from any of them."""

    batch: BatchView
    pairs: dict[str, int]
    learners: tuple[Learner, ...]


@dataclass(frozen=True, kw_only=True)
class BatchShare:
    """A batch, and how many of its pairs a job was handed."""

    id: int
    sha256: str
    device: str
    received_utc_us: int
    pairs: int


def of_sample(database: Database, key: SampleKey) -> SampleDescent | None:
    """Return who learned from a pair, or None where it is not stored."""
    sample = searches.one(database, key)
    if sample is None:
        return None
    with database.read() as connection:
        lies_in = _batch(connection, batches.c.id == sample.batch)
        picture = connection.scalar(
            select(pictures.c.batch).filter_by(
                device=key.device, boot=key.boot, sequence=key.sequence
            )
        )
        learners = _learners(connection, [samples.c.id == sample.id])
        beside = None if picture is None else _batch(connection, batches.c.id == picture)
    return SampleDescent(sample=sample, batch=lies_in, picture_batch=beside, learners=learners)


def of_batch(database: Database, sha256: str) -> BatchDescent | None:
    """Return who learned from the pairs of a batch, or None where it is not stored."""
    entry = searches.batch(database, sha256)
    if entry is None:
        return None
    with database.read() as connection:
        # Batches are stored one after the other, so that the rows of one lie together.
        first = searches.first_from(connection, samples.c.batch, entry.id)
        last = searches.first_from(connection, samples.c.batch, entry.id + 1)
        where = [samples.c.id >= first, samples.c.id < last]
        query = select(samples.c.deployment, func.count()).where(*where)
        rows = connection.execute(query.group_by(samples.c.deployment)).all()
        learners = _learners(connection, where)
    return BatchDescent(
        batch=entry, pairs={row.deployment: row[1] for row in rows}, learners=learners
    )


def batches_of(
    database: Database, job: int, *, after: int = 0, limit: int = 100
) -> tuple[tuple[BatchShare, ...], int | None]:
    """Return batches that `job` learned from, and the pair's row id to go on after, if any."""
    with database.read() as connection:
        row = connection.execute(select(training_jobs).filter_by(id=job)).one()
        if row.cut_sample is None:
            return (), None
        scanned = (
            select(samples.c.id, samples.c.batch)
            .join(pictures, of_a_pair())
            .where(
                samples.c.deployment == row.deployment,
                samples.c.id > after,
                samples.c.id <= row.cut_sample,
                pictures.c.id <= row.cut_picture,
                trust.for_job(row),
            )
            .order_by(samples.c.id)
            .limit(searches.SCAN)
            .subquery()
        )
        found = connection.execute(
            select(
                *(
                    scanned.c.batch,
                    func.count().label("pairs"),
                    func.max(scanned.c.id).label("last"),
                )
            )
            .group_by(scanned.c.batch)
            .order_by(func.max(scanned.c.id))
        ).all()
        is_cut_short = sum(each.pairs for each in found) == searches.SCAN and len(found) > 1
        # The last one may go on beyond what was looked through: the next page has it whole.
        shown = (found[:-1] if is_cut_short else found)[:limit]
        shares = _shares(connection, {each.batch: each.pairs for each in shown})
    more = len(shown) < len(found)
    return shares, shown[-1].last if more and shown else None


def pairs_of(database: Database, job: int, *, after: int = 0, limit: int = 100) -> Found:
    """Return a page of the pairs that `job` was handed, by row id."""
    with database.read() as connection:
        row = connection.execute(select(training_jobs).filter_by(id=job)).one()
    if row.cut_sample is None:
        return Found(items=(), next_after=None)
    where = [
        samples.c.deployment == row.deployment,
        pictures.c.id <= row.cut_picture,
        trust.for_job(row),
        samples.c.label.is_not(None),
        pictures.c.sha256 == samples.c.picture_sha256,
    ]
    return searches.pairs(database, where, after=after, last=row.cut_sample, limit=limit)


def _shares(connection: Connection, pairs: dict[int, int]) -> tuple[BatchShare, ...]:
    columns = (batches.c.id, batches.c.sha256, batches.c.device, batches.c.received_utc_us)
    query = select(*columns).where(batches.c.id.in_(list(pairs))).order_by(batches.c.id)
    return tuple(
        BatchShare(
            id=row.id,
            sha256=row.sha256,
            device=row.device,
            received_utc_us=row.received_utc_us,
            pairs=pairs[row.id],
        )
        for row in connection.execute(query)
    )


def _learners(connection: Connection, where: list[ColumnElement[bool]]) -> tuple[Learner, ...]:
    """Return the jobs that were handed any of the pairs that `where` names, oldest first."""
    query = (
        select(training_jobs, models.c.version, func.count().label("pairs"))
        .select_from(samples)
        .join(pictures, of_a_pair())
        .join(
            training_jobs,
            (training_jobs.c.deployment == samples.c.deployment)
            & (training_jobs.c.cut_sample >= samples.c.id)
            & (training_jobs.c.cut_picture >= pictures.c.id)
            & trust.for_job(training_jobs.c),
        )
        .outerjoin(models, models.c.sha256 == training_jobs.c.model)
        .where(*where)
        .group_by(training_jobs.c.id, models.c.id)
        .order_by(training_jobs.c.id)
    )
    rows = connection.execute(query).all()
    cars = cars_of(connection, {row.model for row in rows if row.model is not None})
    runs_of = _runs(connection, [row.model for row in rows if row.model is not None])
    return tuple(
        Learner(
            job=row.id,
            state=row.state,
            deployment=row.deployment,
            model=row.model,
            version=row.version,
            run=runs_of.get(row.model),
            pairs=row.pairs,
            cars=cars.get(row.model, ()),
        )
        for row in rows
    )


def cars_of(connection: Connection, digests: set[str]) -> dict[str, tuple[HistoryView, ...]]:
    """Return when cars began to run each of the models `digests`, oldest first."""
    query = (
        select(model_history, models.c.version)
        .outerjoin(models, models.c.sha256 == model_history.c.model)
        .where(model_history.c.model.in_(list(digests)))
        .order_by(model_history.c.id)
    )
    found: dict[str, tuple[HistoryView, ...]] = {}
    for each in views(HistoryView, connection.execute(query).all()):
        found[each.model] = (*found.get(each.model, ()), each)
    return found


def _runs(connection: Connection, digests: list[str]) -> dict[str | None, str]:
    query = select(models.c.sha256, models.c.manifest).where(models.c.sha256.in_(digests))
    return {
        row.sha256: msgspec.json.decode(row.manifest, type=Manifest).run_id
        for row in connection.execute(query)
    }


def _batch(connection: Connection, where: ColumnElement[bool]) -> BatchView:
    columns = [batches.c[name] for name in BatchView.__dataclass_fields__]
    found: BatchView = views(BatchView, connection.execute(select(*columns).where(where)).all())[0]
    return found
