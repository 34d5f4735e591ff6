"""The received bytes, read back from where they lie: in the row, or in the object store.

Laws:
- whoever reads gets the bytes of the batch as it is now: after an erasure, without what was erased.
"""

from collections.abc import Collection

from sqlalchemy import Connection, Integer, LargeBinary, cast, func, select

from fleet_server.storage.objects import Objects
from fleet_server.storage.tables import batches, pictures
from shared.errors import RetryLaterError


def read(connection: Connection, objects: Objects | None, batch: int) -> bytes | None:
    """Return the bytes of the batch with the row id `batch`, or None where there is none.

    Raises:
        RetryLaterError: they lie in an object store that cannot be read now, or is not set.
    """
    query = select(batches.c.body, batches.c.sha256, batches.c.external)
    row = connection.execute(query.where(batches.c.id == batch)).one_or_none()
    if row is None:
        return None
    return _given(objects).get(row.sha256) if row.external else bytes(row.body)


def picture(
    connection: Connection, objects: Objects | None, device: str, boot: str, sequence: int
) -> bytes | None:
    """Return the JPEG of one sample, or None where there is none; no more than it is read.

    Raises:
        RetryLaterError: it lies in an object store that cannot be read now, or is not set.
    """
    # PostgreSQL counts bytes in 32 bits.
    start, count = (cast(each, Integer) for each in (pictures.c.offset + 1, pictures.c.size_bytes))
    part = func.substr(batches.c.body, start, count, type_=LargeBinary)
    query = (
        select(
            pictures.c.offset,
            pictures.c.size_bytes,
            batches.c.sha256,
            batches.c.external,
            part.label("jpeg"),
        )
        .join(batches, batches.c.id == pictures.c.batch)
        .filter(
            pictures.c.device == device, pictures.c.boot == boot, pictures.c.sequence == sequence
        )
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if not row.external:
        return bytes(row.jpeg)
    return _given(objects).get_range(row.sha256, row.offset, row.size_bytes)


def read_many(
    connection: Connection, objects: Objects | None, numbers: Collection[int]
) -> dict[int, bytes]:
    """Return the bytes of batches by row id, each read once.

    Raises:
        RetryLaterError: some lie in an object store that cannot be read now, or is not set.
    """
    found = {number: read(connection, objects, number) for number in sorted(numbers)}
    return {number: body for number, body in found.items() if body is not None}


def _given(objects: Objects | None) -> Objects:
    if objects is None:
        raise RetryLaterError("these bytes lie in an object store: set `objects` as it was")
    return objects
