"""What the release owner withdrew leaves the fleet: a step of the control loop.

Laws:
- what is withdrawn is marked in the database, once, with an entry in the log book, and is from then
  on neither rolled out nor promoted nor waited for;
- an open rollout of it is aborted; where it is a deployment's `latest`, that goes back to the
  newest version that was promoted before and is not withdrawn, or to none;
- a pinned version is a person's word and stays; cars refuse what is withdrawn, whoever names it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from fleet_server import logbook
from fleet_server.rollout.offering import open_rollout
from fleet_server.storage.database import Change
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import decisions, deployments, models
from shared.releases import series_of

Withdrawn = Mapping[str, Collection[int]]
"""The numbers of withdrawn releases by "task/deployment"."""


def follow(
    connection: Connection, deployment: str, now_utc_us: int, withdrawn: Withdrawn
) -> Change | None:
    """Take what was withdrawn out of `deployment`."""
    query = select(models).filter_by(deployment=deployment, withdrawn_utc_us=None)
    gone = [
        row
        for row in connection.execute(query)
        if row.release_seq in withdrawn.get(series_of(row.path), ())
    ]
    return (lambda c: _withdraw(c, deployment, gone, now_utc_us)) if gone else None


def _withdraw(
    connection: Connection, deployment: str, gone: Sequence[Row[Any]], now_utc_us: int
) -> None:
    digests = [row.sha256 for row in gone]
    connection.execute(
        update(models).where(models.c.sha256.in_(digests)).values(withdrawn_utc_us=now_utc_us)
    )
    latest = connection.scalar(select(deployments.c.latest_model).filter_by(name=deployment))
    before = _before(connection, deployment) if latest in digests else latest
    rollout = open_rollout(connection, deployment)
    is_tried = rollout is not None and rollout.model in digests
    for row in gone:
        logbook.write(
            connection,
            utc_us=now_utc_us,
            deployment=deployment,
            kind="withdraw",
            reason=f"the release owner withdrew v{row.version}",
            evidence={
                "version": row.version,
                "was_latest": row.sha256 == latest,
                "was_rolled_out": is_tried and rollout is not None and row.sha256 == rollout.model,
                "latest": before,
            },
            model=row.sha256,
        )
    connection.execute(
        update(deployments).where(deployments.c.name == deployment).values(latest_model=before)
    )
    if rollout is not None and is_tried:
        reason = "the release owner withdrew it"
        connection.execute(
            update(rollouts)
            .where(rollouts.c.id == rollout.id)
            .values(state="aborted", reason=reason)
        )


def _before(connection: Connection, deployment: str) -> str | None:
    """Return the newest model that was promoted in `deployment` and is not withdrawn."""
    promoted = select(decisions.c.model).filter_by(deployment=deployment, kind="promote")
    query = (
        select(models.c.sha256)
        .filter_by(deployment=deployment, withdrawn_utc_us=None)
        .where(models.c.sha256.in_(promoted))
        .order_by(models.c.version.desc())
    )
    return connection.scalar(query.limit(1))
