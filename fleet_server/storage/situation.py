"""The numbers that the rules decide on, read from committed rows.

Laws:
- every query is bounded: by a limit, or by the number of cars.
"""

from sqlalchemy import Connection, func, select

from fleet_server.storage import trust
from fleet_server.storage.tables import manoeuvres, of_a_pair, pictures, samples


def trainable_pairs(connection: Connection, *, deployment: str, since: int, limit: int) -> int:
    """Return how many labelled pairs with pictures have a row id from `since` on, up to `limit`."""
    found = (
        select(samples.c.id)
        .join(pictures, of_a_pair())
        .where(
            samples.c.deployment == deployment,
            samples.c.id >= since,
            trust.now(),
        )
        .limit(limit)
    )
    return connection.scalar(select(func.count()).select_from(found.subquery())) or 0


def cars_that_drove(connection: Connection, deployment: str) -> tuple[int, int]:
    """Return how many cars have ended manoeuvres in `deployment`, and the fewest of one."""
    ended = (
        select(func.count().label("ended"))
        .where(manoeuvres.c.deployment == deployment)
        .group_by(manoeuvres.c.device)
        .subquery()
    )
    row = connection.execute(select(func.count(), func.min(ended.c.ended)).select_from(ended)).one()
    return row[0], row[1] or 0


def manoeuvres_since(connection: Connection, deployment: str, since: int, *, limit: int) -> int:
    """Return how many manoeuvres have pairs from the row id `since` on, up to `limit`.

    Of those, only the pairs that are trusted count.
    """
    found = (
        select(samples.c.device, samples.c.boot, samples.c.manoeuvre)
        .where(samples.c.deployment == deployment, samples.c.id >= since, trust.now())
        .distinct()
        .limit(limit)
    )
    return connection.scalar(select(func.count()).select_from(found.subquery())) or 0
