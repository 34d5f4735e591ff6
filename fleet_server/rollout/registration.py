"""From an accepted release to a registered model.

Laws:
- the release repository is asked first and the database written second: what lies between them
  after a kill is found and finished by `reconcile` at the next start;
- registering twice changes nothing;
- versions count 1, 2, 3 ... within a deployment, in the order of registration.
"""

import logging

from sqlalchemy import Connection, func, select, update

from fleet_server.releases.online import OnlineRepository
from fleet_server.storage import upsert
from fleet_server.storage.database import Database
from fleet_server.storage.tables import manoeuvres, models
from fleet_server.training import jobs
from shared.clock import Clock
from shared.manifest import Manifest
from shared.releases import target_path

logger = logging.getLogger(__name__)


def register(connection: Connection, manifest: Manifest, *, utc_us: int) -> None:
    """Enter an accepted model, and end the job that made it, in the open transaction."""
    version = connection.scalar(
        select(func.max(models.c.version)).where(models.c.deployment == manifest.deployment)
    )
    added = connection.scalar(
        upsert.insert(connection, models)
        .values(
            sha256=manifest.sha256,
            deployment=manifest.deployment,
            version=(version or 0) + 1,
            release_seq=manifest.release_seq,
            path=target_path(manifest.task.name, manifest.deployment, manifest.sha256),
            manifest=manifest.to_json(),
            registered_utc_us=utc_us,
            since_manoeuvre=connection.scalar(select(func.max(manoeuvres.c.id))) or 0,
        )
        .on_conflict_do_nothing(index_elements=["sha256"])
        .returning(models.c.id)
    )
    if added is None:
        return
    job = jobs.finish(
        connection,
        deployment=manifest.deployment,
        release_seq=manifest.release_seq,
        model=manifest.sha256,
        utc_us=utc_us,
    )
    connection.execute(update(models).where(models.c.id == added).values(job=job))
    logger.info(
        "model_registered deployment=%s version=%d model=%s",
        *(manifest.deployment, (version or 0) + 1, manifest.sha256),
    )


def reconcile(database: Database, repository: OnlineRepository, clock: Clock) -> None:
    """Register what the repository has accepted and the database does not know.

    Raises:
        UsageError: the repository is damaged.
        RetryLaterError: the database cannot be used now.
    """
    if not repository.is_initialised:
        return
    with database.read() as connection:
        known = set(connection.scalars(select(models.c.sha256)))
    for release in repository.targets().values():
        if release.manifest.sha256 not in known:
            with database.write() as connection:
                register(connection, release.manifest, utc_us=clock.utc_us())
