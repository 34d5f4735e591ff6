"""Where things come from: from a car, a model, a run, an alert or a decision back to the data.

Laws:
- every link is a stored row; nothing is inferred from times;
- a job's data set is named by its cuts: all labelled pairs of its deployment up to those row ids;
  its digest is the trainer's, over the pairs that it used.

`descent` leads the other way, from the data to models and cars.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fleet_server.reading import descent
from fleet_server.reading.queries import Queries
from fleet_server.reading.views import DecisionView, HistoryView, JobView, ModelView, VerdictView
from fleet_server.storage import trust
from fleet_server.storage.database import Database
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.tables import (
    desired,
    models,
    of_a_pair,
    pictures,
    samples,
    training_jobs,
)
from fleet_server.telling import alerts
from fleet_server.telling.alerts import AlertView
from fleet_server.training import runs
from fleet_server.training.runs import ArtefactView, RunView


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """The pairs that a job was handed, and how many each car gave."""

    deployment: str
    cut_sample: int
    cut_picture: int
    pairs: int
    pairs_by_device: dict[str, int]
    manoeuvres: int


@dataclass(frozen=True, kw_only=True)
class JobLineage:
    """A training job with everything that led to it and came of it.

    `runs` are those that its worker told of, each with its steps; `model` is None where none was
    made.
    """

    job: JobView
    decision: DecisionView | None
    verdict: VerdictView | None
    dataset: DatasetView | None
    runs: tuple[RunView, ...]
    artefacts: tuple[ArtefactView, ...]
    model: ModelView | None


@dataclass(frozen=True, kw_only=True)
class ModelLineage:
    """A model's past (run, job, decision, verdict, data) and future (the cars that ran it).

    `run` is the one that made it, None where its worker told of none.
    """

    model: ModelView
    run: RunView | None
    artefacts: tuple[ArtefactView, ...]
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


@dataclass(frozen=True, kw_only=True)
class DatasetLineage:
    """A data set, by its digest: the runs on it and the models that were trained on it."""

    dataset_sha256: str
    runs: tuple[RunView, ...]
    models: tuple[ModelView, ...]


@dataclass(frozen=True, kw_only=True)
class AlertLineage:
    """An alert, what was found out, the model it is about with its past, and what was done.

    The pairs on which it was found out begin at the row id `since_sample`. `answers` are the jobs
    that were asked for because of it.
    """

    alert: AlertView
    verdict: VerdictView | None
    since_sample: int | None
    model: ModelLineage | None
    answers: tuple[JobView, ...]


@dataclass(frozen=True, kw_only=True)
class DecisionLineage:
    """An entry of the log book, and what followed from it."""

    decision: DecisionView
    verdict: VerdictView | None
    jobs: tuple[JobView, ...]
    cars: tuple[str, ...]


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
        job = None if model.job is None else self.of_job(model.job)
        with self._database.read() as connection:
            cars = descent.cars_of(connection, {sha256}).get(sha256, ())
        made_by = {each.run: each for each in job.runs} if job else {}
        return ModelLineage(
            model=model,
            run=made_by.get(str(model.manifest["run_id"])),
            artefacts=job.artefacts if job else (),
            job=job.job if job else None,
            decision=job.decision if job else None,
            verdict=job.verdict if job else None,
            dataset=job.dataset if job else None,
            cars=cars,
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

    def of_job(self, number: int) -> JobLineage | None:
        """Return a training job's lineage, or None where there is no such job."""
        job = self._job(number)
        if job is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(select(training_jobs).filter_by(id=number)).one()
            dataset = None if row.cut_sample is None else _dataset(connection, row)
            told = runs.listed(connection, job=number, limit=1000)
            files = runs.files(connection, number)
        return JobLineage(
            job=job,
            decision=self._decision(job.decision),
            verdict=self._verdict(job.verdict),
            dataset=dataset,
            runs=told,
            artefacts=files,
            model=next(iter(self._queries.models(sha256=job.model)), None) if job.model else None,
        )

    def of_run(self, run: str) -> JobLineage | None:
        """Return the lineage of the job that a run belongs to, or None where nobody told of it."""
        with self._database.read() as connection:
            found = runs.listed(connection, run=run, limit=1)
        return self.of_job(found[0].job) if found else None

    def of_dataset(self, sha256: str) -> DatasetLineage | None:
        """Return what was trained on a data set, or None where nothing was."""
        digest = models.c.manifest.contains(f'"dataset_sha256":"{sha256}"', autoescape=True)
        with self._database.read() as connection:
            told = runs.listed(connection, dataset_sha256=sha256, limit=1000)
            digests = connection.scalars(select(models.c.sha256).where(digest)).all()
        made = [each for name in digests for each in self._queries.models(sha256=name)]
        if not told and not made:
            return None
        return DatasetLineage(dataset_sha256=sha256, runs=told, models=tuple(made))

    def of_alert(self, number: int) -> AlertLineage | None:
        """Return what led to an alert and what was done, or None where there is no such alert."""
        alert = next(iter(alerts.listed(self._database, number=number)), None)
        if alert is None:
            return None
        if alert.verdict is None:
            return AlertLineage(
                alert=alert, verdict=None, since_sample=None, model=None, answers=()
            )
        verdict = self._verdict(alert.verdict)
        with self._database.read() as connection:
            answers = connection.scalars(
                select(training_jobs.c.id)
                .where(training_jobs.c.verdict == alert.verdict)
                .order_by(training_jobs.c.id)
            ).all()
            since = connection.scalar(
                select(verdicts.c.since_sample).where(verdicts.c.id == alert.verdict)
            )
        found = (self._job(each) for each in answers)
        return AlertLineage(
            alert=alert,
            verdict=verdict,
            since_sample=since,
            model=self.of_model(verdict.model) if verdict else None,
            answers=tuple(each for each in found if each is not None),
        )

    def of_decision(self, number: int) -> DecisionLineage | None:
        """Return what followed from an entry of the log book, or None where there is none."""
        decision = self._decision(number)
        if decision is None:
            return None
        with self._database.read() as connection:
            asked = connection.scalars(select(training_jobs.c.id).filter_by(decision=number)).all()
            steered = connection.scalars(
                select(desired.c.device).filter_by(decision=number).distinct()
            ).all()
        found = (self._job(each) for each in asked)
        return DecisionLineage(
            decision=decision,
            verdict=self._verdict(decision.verdict),
            jobs=tuple(each for each in found if each is not None),
            cars=tuple(sorted(steered)),
        )

    def _job(self, number: int) -> JobView | None:
        found = self._queries.training_jobs(after=number - 1, limit=1)
        return next((each for each in found if each.id == number), None)

    def _decision(self, number: int) -> DecisionView | None:
        found = self._queries.decisions(after=number - 1, limit=1)
        return next((each for each in found if each.id == number), None)

    def _verdict(self, number: int | None) -> VerdictView | None:
        found = () if number is None else self._queries.verdicts(after=number - 1, limit=1)
        return next((each for each in found if each.id == number), None)


def _dataset(connection: Connection, job: Row[Any]) -> DatasetView:
    query = (
        select(samples.c.device, samples.c.boot, samples.c.manoeuvre, func.count().label("pairs"))
        .join(pictures, of_a_pair())
        .where(
            samples.c.deployment == job.deployment,
            samples.c.id <= job.cut_sample,
            pictures.c.id <= job.cut_picture,
            trust.for_job(job),
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
