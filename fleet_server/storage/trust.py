"""Which pairs a training job learns: all but those of a sensor that was found to be wrong, and
those that a person excluded.

Laws:
- what a job was handed stays what it is said to have been handed: a job is bound to the distrusts
  known when it was claimed (`cut_distrust`), whatever is found out or lifted later;
- a distrust that is lifted by a person counts no more for the jobs asked for after that;
- a pair whose picture or label a person called bad is learned by no job asked for after that.
"""

from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, insert, or_, select, update
from sqlalchemy.sql import ColumnElement

from fleet_server.storage.drift_tables import distrusts
from fleet_server.storage.report_tables import annotations
from fleet_server.storage.tables import samples, training_jobs

EXCLUDING = ("bad-picture", "wrong-label")
"""Kinds of annotations after which a pair is learned no more."""


def for_job(job: Any) -> ColumnElement[bool]:
    """Return the condition that a row of `samples` was trusted by `job`.

    `job` has `id`, `cut_distrust` and `created_utc_us`: a row of `training_jobs`, or the table's
    columns.
    """
    covering = select(distrusts.c.id).where(
        *_covers(),
        distrusts.c.id <= func.coalesce(job.cut_distrust, 0),
        or_(distrusts.c.lifted_after_job.is_(None), distrusts.c.lifted_after_job >= job.id),
    )
    excluding = _excluding().where(annotations.c.utc_us < job.created_utc_us)
    return and_(
        ~exists(covering.correlate(samples, training_jobs)),
        ~exists(excluding.correlate(samples, training_jobs)),
    )


def now() -> ColumnElement[bool]:
    """Return the condition that a row of `samples` is trusted by a job that is claimed now."""
    covering = select(distrusts.c.id).where(*_covers(), distrusts.c.lifted_after_job.is_(None))
    return and_(~exists(covering.correlate(samples)), ~exists(_excluding().correlate(samples)))


def begin(
    connection: Connection,
    *,
    verdict: int,
    deployment: str,
    device: str,
    since_sample: int,
    utc_us: int,
) -> None:
    """Trust the car's labels from that row id on no longer; once a verdict."""
    if connection.scalar(select(distrusts.c.id).filter_by(verdict=verdict)) is None:
        connection.execute(
            insert(distrusts).values(
                utc_us=utc_us,
                verdict=verdict,
                deployment=deployment,
                device=device,
                since_sample=since_sample,
            )
        )


def end(connection: Connection, verdicts: list[int]) -> None:
    """Trust labels again that are stored from now on."""
    last = connection.scalar(select(func.max(samples.c.id))) or 0
    connection.execute(
        update(distrusts)
        .where(distrusts.c.verdict.in_(verdicts), distrusts.c.until_sample.is_(None))
        .values(until_sample=last)
    )


def lift(connection: Connection, verdict: int) -> None:
    """Trust all labels again that were not for the sake of a verdict: a person has looked."""
    last = connection.scalar(select(func.max(training_jobs.c.id))) or 0
    connection.execute(
        update(distrusts)
        .where(distrusts.c.verdict == verdict, distrusts.c.lifted_after_job.is_(None))
        .values(lifted_after_job=last)
    )


def cut(connection: Connection) -> int:
    """Return the last distrust that a job claimed now is bound to."""
    return connection.scalar(select(func.max(distrusts.c.id))) or 0


def _excluding() -> Select[int]:
    """Return the query for what excludes a row of `samples`: a person's word on it."""
    return select(annotations.c.id).where(
        *(annotations.c[name] == samples.c[name] for name in ("device", "boot", "sequence")),
        annotations.c.kind.in_(EXCLUDING),
    )


def _covers() -> tuple[ColumnElement[bool], ...]:
    return (
        distrusts.c.device == samples.c.device,
        distrusts.c.deployment == samples.c.deployment,
        distrusts.c.since_sample <= samples.c.id,
        or_(distrusts.c.until_sample.is_(None), distrusts.c.until_sample >= samples.c.id),
    )
