"""Messages that were refused: kept with the reason, within a budget.

Laws:
- the same bytes are kept once, and their repeats counted;
- no car, and not all together, hold more than their budget: the oldest make room, and how many
  and how much is counted at the car;
- of a message longer than any may be, only so much is kept as one may hold.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, func, select

from fleet_server.storage.intake import Received
from fleet_server.storage.tables import quarantine, quarantine_tallies
from fleet_server.storage.upsert import insert
from shared.topics import BATCH

_MANY = 64
"""Messages that are looked at together for those that make room."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most bytes that may be kept of one car's messages, and of all."""

    car_bytes: int = 16 * 1024 * 1024
    all_bytes: int = 256 * 1024 * 1024


def put_aside(connection: Connection, received: Received, reason: str, budget: Budget) -> None:
    """Keep a refused message with the reason."""
    body = received.body[: BATCH.limit_bytes]
    statement = insert(connection, quarantine).values(
        device=received.device,
        topic=received.topic,
        sha256=received.sha256,
        reason=reason.replace("\0", "\\0"),  # PostgreSQL has no zeros in texts.
        received_utc_us=received.utc_us,
        size_bytes=len(received.body),
        body=body,
    )
    again = {"repeats": quarantine.c.repeats + 1}
    repeats = connection.scalar(
        statement.on_conflict_do_update(index_elements=["sha256"], set_=again).returning(
            quarantine.c.repeats
        )
    )
    if repeats:
        return
    _account(connection, received.device, kept_bytes=len(body))
    of_car = quarantine_tallies.c.device == received.device
    _make_room(
        connection,
        _oldest().where(quarantine.c.device == received.device),
        _kept().where(of_car),
        budget.car_bytes,
    )
    _make_room(connection, _oldest(), _kept(), budget.all_bytes)


def take_out(connection: Connection, numbers: Iterable[int]) -> int:
    """Delete messages by row id; return how many there were."""
    found = connection.execute(_sizes().where(quarantine.c.id.in_(list(numbers)))).all()
    for row in found:
        _account(connection, row.device, kept_bytes=-row.size)
    _delete(connection, found)
    return len(found)


def _sizes() -> Select[tuple[int, str, int]]:
    return select(
        quarantine.c.id, quarantine.c.device, func.length(quarantine.c.body).label("size")
    )


def _oldest() -> Select[tuple[int, str, int]]:
    return _sizes().order_by(quarantine.c.id).limit(_MANY)


def _kept() -> Select[tuple[int]]:
    return select(func.sum(quarantine_tallies.c.kept_bytes))


def _make_room(
    connection: Connection,
    oldest: Select[tuple[int, str, int]],
    kept: Select[tuple[int]],
    limit_bytes: int,
) -> None:
    excess = int(connection.scalar(kept) or 0) - limit_bytes
    while excess > 0 and (found := connection.execute(oldest).all()):
        leaving = []
        for row in found:
            if excess <= 0:
                break
            leaving.append(row)
            excess -= row.size
            _account(
                connection, row.device, kept_bytes=-row.size, dropped=1, dropped_bytes=row.size
            )
        _delete(connection, leaving)


def _delete(connection: Connection, rows: Iterable[Row[tuple[int, str, int]]]) -> None:
    connection.execute(quarantine.delete().where(quarantine.c.id.in_([row.id for row in rows])))


def _account(connection: Connection, device: str, **added: int) -> None:
    statement = insert(connection, quarantine_tallies).values(device=device, **added)
    raised = {name: quarantine_tallies.c[name] + statement.excluded[name] for name in added}
    connection.execute(statement.on_conflict_do_update(index_elements=["device"], set_=raised))
