"""Where a model comes from and where it went: from a car back to the pairs, and forward again.

Laws:
- every link is a stored row; nothing is inferred from times;
- a job's data set is named by its cuts: all labelled pairs of its deployment up to those row ids.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fleet_server.queries import Queries
from fleet_server.storage.database import Database
from fleet_server.storage.tables import (
    model_history,
    of_a_pair,
    pictures,
    samples,
    training_jobs,
)
from fleet_server.views import DecisionView, HistoryView, JobView, ModelView, VerdictView


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """The pairs a model has learned from, and how many each car gave."""

    deployment: str
    cut_sample: int
    cut_picture: int
    pairs: int
    pairs_by_device: dict[str, int]
    manoeuvres: int


@dataclass(frozen=True, kw_only=True)
class ModelLineage:
    """A model's past (job, decision, verdict, data) and future (the cars that ran it)."""

    model: ModelView
    job: JobView | None
    decision: DecisionView | None
    verdict: VerdictView | None
    dataset: DatasetView | None
    cars: tuple[HistoryView, ...]


@dataclass(frozen=True, kw_only=True)
class DeviceLineage:
    """What a car has run, and the past of what it runs now."""

    device: str
    loaded: str | None
    history: tuple[HistoryView, ...]
    model: ModelLineage | None


class Lineage:
    """Follows the links."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database
        self._queries = Queries(database)

    def of_model(self, sha256: str) -> ModelLineage | None:
        """Return a model's lineage, or None where no such model is registered."""
        model = next(iter(self._queries.models(sha256=sha256)), None)
        if model is None:
            return None
        job = decision = verdict = dataset = None
        if model.job is not None:
            job = self._queries.training_jobs(after=model.job - 1, limit=1)[0]
            decision = self._queries.decisions(after=job.decision - 1, limit=1)[0]
            dataset = self._dataset(model.job)
        if job is not None and job.verdict is not None:
            verdict = self._queries.verdicts(after=job.verdict - 1, limit=1)[0]
        return ModelLineage(
            model=model,
            job=job,
            decision=decision,
            verdict=verdict,
            dataset=dataset,
            cars=self._cars(model),
        )

    def of_device(self, device: str) -> DeviceLineage | None:
        """Return what a car has run, or None where no such car is enrolled."""
        view = self._queries.device(device)
        if view is None:
            return None
        return DeviceLineage(
            device=device,
            loaded=view.loaded,
            history=self._queries.history(device),
            model=self.of_model(view.loaded) if view.loaded else None,
        )

    def _dataset(self, job: int) -> DatasetView | None:
        with self._database.read() as connection:
            row = connection.execute(select(training_jobs).filter_by(id=job)).one()
            return None if row.cut_sample is None else _dataset(connection, row)

    def _cars(self, model: ModelView) -> tuple[HistoryView, ...]:
        query = (
            select(model_history)
            .where(model_history.c.model == model.sha256)
            .order_by(model_history.c.id)
        )
        with self._database.read() as connection:
            return tuple(
                HistoryView(
                    id=row.id,
                    device=row.device,
                    model=row.model,
                    version=model.version,
                    release_seq=row.release_seq,
                    since_utc_us=row.since_utc_us,
                )
                for row in connection.execute(query)
            )


def _dataset(connection: Connection, job: Row[Any]) -> DatasetView:
    query = (
        select(samples.c.device, samples.c.boot, samples.c.manoeuvre, func.count().label("pairs"))
        .join(pictures, of_a_pair())
        .where(
            samples.c.deployment == job.deployment,
            samples.c.id <= job.cut_sample,
            pictures.c.id <= job.cut_picture,
        )
        .group_by(samples.c.device, samples.c.boot, samples.c.manoeuvre)
    )
    by_device: dict[str, int] = {}
    rows = connection.execute(query).all()
    for row in rows:
        by_device[row.device] = by_device.get(row.device, 0) + row.pairs
    return DatasetView(
        deployment=job.deployment,
        cut_sample=job.cut_sample,
        cut_picture=job.cut_picture,
        pairs=sum(by_device.values()),
        pairs_by_device=by_device,
        manoeuvres=len(rows),
    )
