"""The read side: every list and look-up that REST, the console and the terminal show.

Laws:
- nothing here writes;
- a revoked car is shown by itself, and is none of its deployment's cars: nobody waits for it;
- a list is ordered by row id; `after` is the last id seen, so that following it costs the same on
  the last page as on the first;
- `newest=True` gives the last rows instead, still in ascending order, for pages that show the end.
"""

from collections.abc import Mapping

import msgspec
from sqlalchemy import func, select

from fleet_server.cars import groups
from fleet_server.reading import searches
from fleet_server.reading.rows import device_views, manoeuvre_views, promotions, versions_of
from fleet_server.reading.views import (
    BatchView,
    DecisionView,
    DeploymentView,
    DeviceView,
    HistoryView,
    JobView,
    ManoeuvreView,
    ModelView,
    QuarantineView,
    RolloutView,
    SampleView,
    Totals,
    VerdictView,
)
from fleet_server.storage import bodies
from fleet_server.storage.database import Database
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.pages import equal, fields, judged, page, row_count, views
from fleet_server.storage.tables import (
    batches,
    decisions,
    deployments,
    devices,
    manoeuvres,
    model_history,
    models,
    quarantine,
    training_jobs,
)


class Queries:
    """The server's tables as views."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    def devices(
        self,
        *,
        deployment: str | None = None,
        labels: Mapping[str, str] | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[DeviceView, ...]:
        """Return the cars of a deployment, a group, or all."""
        where = [*equal(devices, deployment=deployment), *groups.in_group(labels or {})]
        with self._database.read() as connection:
            rows = page(connection, select(devices).where(*where), devices, after, limit)
            return device_views(connection, rows)

    def device(self, name: str) -> DeviceView | None:
        """Return one car, or None."""
        with self._database.read() as connection:
            rows = connection.execute(select(devices).filter_by(name=name)).all()
            return next(iter(device_views(connection, rows)), None)

    def deployments(
        self, *, name: str | None = None, after: int = 0, limit: int = 1000
    ) -> tuple[DeploymentView, ...]:
        """Return the deployments."""
        cars = (
            select(func.count())
            .select_from(devices)
            .where(devices.c.deployment == deployments.c.name, devices.c.state != "revoked")
            .scalar_subquery()
        )
        query = select(deployments, cars.label("devices")).where(*equal(deployments, name=name))
        with self._database.read() as connection:
            rows = page(connection, query, deployments, after, limit)
            versions = versions_of(connection, {row.latest_model for row in rows})
        return tuple(
            DeploymentView(
                id=row.id,
                name=row.name,
                task=msgspec.json.decode(row.task),
                created_utc_us=row.created_utc_us,
                latest=row.latest_model,
                latest_version=versions.get(row.latest_model),
                devices=row.devices,
                status=row.status,
                pinned_version=row.pinned_version,
                pairs_stored=row.pairs_stored,
            )
            for row in rows
        )

    def samples(
        self, *, device: str | None = None, deployment: str | None = None, limit: int = 100
    ) -> tuple[SampleView, ...]:
        """Return the first stored pairs, without their pictures; `searches` finds all others."""
        wanted = searches.Wanted(device=device, deployment=deployment)
        return searches.find(self._database, wanted, limit=limit).items

    def picture(self, device: str, boot: str, sequence: int) -> bytes | None:
        """Return the JPEG of one sample, or None where there is none."""
        with self._database.read() as connection:
            return bodies.picture(connection, self._database.objects, device, boot, sequence)

    def manoeuvres(
        self,
        *,
        device: str | None = None,
        deployment: str | None = None,
        after: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> tuple[ManoeuvreView, ...]:
        """Return the manoeuvres that ended, in the order in which the server heard of it."""
        query = select(manoeuvres).where(*equal(manoeuvres, device=device, deployment=deployment))
        with self._database.read() as connection:
            rows = page(connection, query, manoeuvres, after, limit, newest=newest)
            return manoeuvre_views(connection, rows)

    def batches(
        self, *, device: str | None = None, after: int = 0, limit: int = 100
    ) -> tuple[BatchView, ...]:
        """Return the received messages, without their bytes."""
        columns = [column for column in batches.c if column.name != "body"]
        query = select(*columns).where(*equal(batches, device=device))
        with self._database.read() as connection:
            return views(BatchView, page(connection, query, batches, after, limit))

    def quarantine(
        self, *, device: str | None = None, after: int = 0, limit: int = 100
    ) -> tuple[QuarantineView, ...]:
        """Return the refused messages, of all cars or of one, without their bytes."""
        columns = [column for column in quarantine.c if column.name != "body"]
        query = select(*columns).where(*equal(quarantine, device=device))
        with self._database.read() as connection:
            rows = page(connection, query, quarantine, after, limit)
            return views(QuarantineView, rows)

    def models(
        self,
        *,
        deployment: str | None = None,
        sha256: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[ModelView, ...]:
        """Return the registered models."""
        query = (
            select(models, deployments.c.latest_model)
            .outerjoin(deployments, deployments.c.name == models.c.deployment)
            .where(*equal(models, deployment=deployment, sha256=sha256))
        )
        with self._database.read() as connection:
            rows = page(connection, query, models, after, limit)
        return tuple(
            ModelView(
                **fields(row, ModelView, skip={"latest", "manifest"}),
                latest=row.latest_model == row.sha256,
                manifest=msgspec.json.decode(row.manifest),
            )
            for row in rows
        )

    def training_jobs(
        self,
        *,
        deployment: str | None = None,
        after: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> tuple[JobView, ...]:
        """Return the training jobs."""
        query = select(training_jobs).where(*equal(training_jobs, deployment=deployment))
        with self._database.read() as connection:
            rows = page(connection, query, training_jobs, after, limit, newest=newest)
            return views(JobView, rows)

    def decisions(
        self,
        *,
        deployment: str | None = None,
        after: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> tuple[DecisionView, ...]:
        """Return the log book."""
        query = select(decisions).where(*equal(decisions, deployment=deployment))
        with self._database.read() as connection:
            rows = page(connection, query, decisions, after, limit, newest=newest)
        return judged(DecisionView, rows)

    def verdicts(
        self,
        *,
        deployment: str | None = None,
        only_open: bool = False,
        after: int = 0,
        limit: int = 100,
    ) -> tuple[VerdictView, ...]:
        """Return what was found out about models."""
        query = select(verdicts).where(*equal(verdicts, deployment=deployment))
        if only_open:
            query = query.where(verdicts.c.cleared_utc_us.is_(None))
        with self._database.read() as connection:
            return judged(VerdictView, page(connection, query, verdicts, after, limit))

    def rollouts(self) -> tuple[RolloutView, ...]:
        """Return, for each deployment with a model, how many of its cars report it as loaded."""
        wanted = func.count(devices.c.id)
        loaded = func.count().filter(devices.c.loaded == deployments.c.latest_model)
        query = (
            select(deployments, models.c.version, wanted.label("wanted"), loaded.label("loaded"))
            .join(models, models.c.sha256 == deployments.c.latest_model)
            .outerjoin(
                devices,
                (devices.c.deployment == deployments.c.name) & (devices.c.state != "revoked"),
            )
            .group_by(deployments.c.id, models.c.version)
            .order_by(deployments.c.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            promoted = promotions(connection)
        return tuple(
            RolloutView(
                deployment=row.name,
                model=row.latest_model,
                version=row.version,
                promoted_utc_us=promoted[row.latest_model].utc_us,
                decision=promoted[row.latest_model].id,
                wanted=row.wanted,
                loaded=row.loaded,
            )
            for row in rows
        )

    def history(self, device: str) -> tuple[HistoryView, ...]:
        """Return the models that a car has run, oldest first."""
        query = (
            select(model_history, models.c.version)
            .outerjoin(models, models.c.sha256 == model_history.c.model)
            .where(model_history.c.device == device)
            .order_by(model_history.c.id)
        )
        with self._database.read() as connection:
            return views(HistoryView, connection.execute(query).all())

    def totals(self) -> Totals:
        """Return the fleet in numbers."""
        with self._database.read() as connection:
            fleet = connection.execute(
                select(
                    func.count(),
                    func.count().filter(devices.c.online),
                    func.coalesce(func.sum(devices.c.pairs_stored), 0),
                    func.coalesce(func.sum(devices.c.pictures_stored), 0),
                ).select_from(devices)
            ).one()
            jobs = connection.execute(
                select(training_jobs.c.state, func.count()).group_by(training_jobs.c.state)
            ).all()
            return Totals(
                devices=fleet[0],
                online=fleet[1],
                pairs_stored=fleet[2],
                pictures=fleet[3],
                batches=row_count(connection, batches),
                manoeuvres=row_count(connection, manoeuvres),
                models=row_count(connection, models),
                quarantined=row_count(connection, quarantine),
                decisions=row_count(connection, decisions),
                jobs={row.state: row[1] for row in jobs},
            )
