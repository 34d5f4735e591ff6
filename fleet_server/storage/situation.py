"""The numbers that the rules decide on, read from committed rows.

Laws:
- every query is bounded: by a limit, or by what is new since the latest model;
- nothing depends on the order in which batches arrived: a manoeuvre counts once all of its pairs
  are stored, or once it has waited for them long enough.
"""

from typing import Any

from sqlalchemy import Connection, FromClause, Row, Select, and_, func, or_, select
from sqlalchemy.sql import ColumnElement

from fleet_server.drift.measured_error import ManoeuvreError
from fleet_server.storage.tables import manoeuvres, of_a_pair, pictures, samples, tallies

RECENT = 200
"""Manoeuvres that the measured-error rule looks back over."""

_MIN_LABELLED = 3


def manoeuvre_errors(
    connection: Connection,
    model: Row[Any],
    *,
    received_before_utc_us: int,
    first: int | None = None,
) -> list[ManoeuvreError]:
    """Return the errors of a row of `models` over closed manoeuvres of its deployment, by row id.

    The last `RECENT` of them, or the `first` ones where that is given. A manoeuvre whose end was
    received before the given moment is closed even where pairs are missing.
    """
    every = tallies.alias("every")
    closed = or_(
        every.c.samples >= manoeuvres.c.pairs,
        manoeuvres.c.received_utc_us < received_before_utc_us,
    )
    query: Select[tuple[int, str, float, int]] = (
        select(
            manoeuvres.c.id,
            manoeuvres.c.device,
            (tallies.c.error_sum / tallies.c.labelled).label("mae"),
            every.c.since_sample,
        )
        .join(tallies, and_(_same_manoeuvre(tallies), tallies.c.model == model.sha256))
        .join(every, and_(_same_manoeuvre(every), every.c.model == ""))
        .where(
            manoeuvres.c.deployment == model.deployment,
            manoeuvres.c.id > model.since_manoeuvre,
            tallies.c.labelled >= _MIN_LABELLED,
            closed,
        )
    )
    if first is not None:
        rows = connection.execute(query.order_by(manoeuvres.c.id).limit(first)).all()
    else:
        newest = query.order_by(manoeuvres.c.id.desc()).limit(RECENT)
        rows = connection.execute(newest).all()[::-1]
    return [
        ManoeuvreError(id=row.id, device=row.device, mae=row.mae, since_sample=row.since_sample)
        for row in rows
    ]


def trainable_pairs(connection: Connection, *, deployment: str, since: int, limit: int) -> int:
    """Return how many labelled pairs with pictures have a row id from `since` on, up to `limit`."""
    found = (
        select(samples.c.id)
        .join(pictures, of_a_pair())
        .where(
            samples.c.deployment == deployment,
            samples.c.id >= since,
        )
        .limit(limit)
    )
    return connection.scalar(select(func.count()).select_from(found.subquery())) or 0


def manoeuvres_by_car(connection: Connection, deployment: str) -> dict[str, int]:
    """Return how many manoeuvres each car has ended in `deployment`, of those that have any."""
    query = (
        select(manoeuvres.c.device, func.count().label("ended"))
        .where(manoeuvres.c.deployment == deployment)
        .group_by(manoeuvres.c.device)
        .order_by(manoeuvres.c.device)
    )
    return {row.device: row.ended for row in connection.execute(query)}


def _same_manoeuvre(sums: FromClause) -> ColumnElement[bool]:
    keys = ("device", "boot", "manoeuvre")
    return and_(*(sums.c[name] == manoeuvres.c[name] for name in keys))
