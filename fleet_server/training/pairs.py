"""The pairs that a training job learns from, page by page, with their pictures.

Laws:
- a page holds labelled samples of the job's deployment with their JPEG, by row id, up to the job's
  cuts: reading them again gives the same pairs, whatever has arrived since;
- a page costs one read of each batch that its pictures lie in.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from fleet_server.storage import bodies, trust
from fleet_server.storage.objects import Objects
from fleet_server.storage.tables import of_a_pair, pictures, samples

LIMIT = 256
"""Pairs on a page."""


def page(connection: Connection, job: Row[Any], *, objects: Objects | None, after: int) -> bytes:
    """Return the page of `job` (a row of `training_jobs`) that follows the row id `after`.

    It is msgpack: `{"items": [{"sample": <Sample>, "jpeg": <bytes>}], "next_cursor": str or nil}`.

    Raises:
        RetryLaterError: the pictures lie in an object store that cannot be read now.
    """
    query = (
        select(
            samples.c.id,
            samples.c.body,
            pictures.c.batch,
            pictures.c.offset,
            pictures.c.size_bytes,
        )
        .join(pictures, of_a_pair())
        .where(
            samples.c.deployment == job.deployment,
            samples.c.id > after,
            samples.c.id <= job.cut_sample,
            pictures.c.id <= job.cut_picture,
            trust.for_job(job),
        )
        .order_by(samples.c.id)
        .limit(LIMIT)
    )
    rows = connection.execute(query).all()
    found = bodies.read_many(connection, objects, {row.batch for row in rows})
    jpegs = [found[row.batch][row.offset : row.offset + row.size_bytes] for row in rows]
    return msgspec.msgpack.encode(
        {
            "items": [
                {"sample": msgspec.Raw(row.body), "jpeg": jpeg}
                for row, jpeg in zip(rows, jpegs, strict=True)
            ],
            "next_cursor": str(rows[-1].id) if len(rows) == LIMIT else None,
        }
    )
