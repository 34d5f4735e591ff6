"""Messages that were refused: kept with the reason, within a budget.

Laws:
- the same bytes are kept once, and their repeats counted;
- no car, and not all together, hold more than their budget: the oldest make room, and how many
  and how much is counted at the car;
- of a message longer than any may be, only so much is kept as one may hold;
- statements are made once: made anew for every message they took half its time, and each left some
  hundred objects in cycles, for which the garbage collector then held up one message in hundreds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, UpdateBase, bindparam, func, select

from fleet_server.storage.received import Received
from fleet_server.storage.tables import quarantine, quarantine_tallies
from fleet_server.storage.upsert import INTO, Insert
from shared.topics import BATCH

_MANY = 64
"""Messages that are looked at together for those that make room."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most bytes that may be kept of one car's messages, and of all."""

    car_bytes: int = 16 * 1024 * 1024
    all_bytes: int = 256 * 1024 * 1024


def _keeping(statement: Insert) -> UpdateBase:
    """Return what keeps a message, or counts its repeat, and says how many there were."""
    again = {"repeats": quarantine.c.repeats + 1}
    kept = statement.on_conflict_do_update(index_elements=["sha256"], set_=again)
    return kept.returning(quarantine.c.repeats)


def _accounting(statement: Insert) -> UpdateBase:
    """Return what adds to a car's tallies."""
    names = ("kept_bytes", "dropped", "dropped_bytes")
    raised = {name: quarantine_tallies.c[name] + statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=["device"], set_=raised)


_SIZES: Select[tuple[int, str, int]] = select(
    quarantine.c.id, quarantine.c.device, func.length(quarantine.c.body).label("size")
)
_OLDEST = _SIZES.order_by(quarantine.c.id).limit(_MANY)
_OLDEST_OF_CAR = _OLDEST.where(quarantine.c.device == bindparam("car"))
_BYTES = select(func.sum(quarantine_tallies.c.kept_bytes))
_BYTES_OF_CAR = _BYTES.where(quarantine_tallies.c.device == bindparam("car"))
_DELETE = quarantine.delete().where(quarantine.c.id.in_(bindparam("numbers", expanding=True)))
_KEEP = {dialect: _keeping(into(quarantine)) for dialect, into in INTO.items()}
_ACCOUNT = {dialect: _accounting(into(quarantine_tallies)) for dialect, into in INTO.items()}


def put_aside(connection: Connection, received: Received, reason: str, budget: Budget) -> None:
    """Keep a refused message with the reason."""
    body = received.body[: BATCH.limit_bytes]
    values = {
        "device": received.device,
        "topic": received.topic,
        "sha256": received.sha256,
        "reason": reason.replace("\0", "\\0"),  # PostgreSQL has no zeros in texts.
        "received_utc_us": received.utc_us,
        "size_bytes": len(received.body),
        "body": body,
    }
    if connection.scalar(_KEEP[connection.dialect.name], values):
        return
    _account(connection, received.device, kept_bytes=len(body))
    car = {"car": received.device}
    _make_room(connection, _OLDEST_OF_CAR, _BYTES_OF_CAR, budget.car_bytes, car)
    _make_room(connection, _OLDEST, _BYTES, budget.all_bytes, {})


def take_out(connection: Connection, numbers: Iterable[int]) -> int:
    """Delete messages by row id; return how many there were."""
    found = connection.execute(_SIZES.where(quarantine.c.id.in_(list(numbers)))).all()
    for row in found:
        _account(connection, row.device, kept_bytes=-row.size)
    _delete(connection, found)
    return len(found)


def _make_room(
    connection: Connection,
    oldest: Select[tuple[int, str, int]],
    kept: Select[tuple[int]],
    limit_bytes: int,
    whose: Mapping[str, str],
) -> None:
    excess = int(connection.scalar(kept, whose) or 0) - limit_bytes
    while excess > 0 and (found := connection.execute(oldest, whose).all()):
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
    connection.execute(_DELETE, {"numbers": [row.id for row in rows]})


def _account(
    connection: Connection,
    device: str,
    *,
    kept_bytes: int,
    dropped: int = 0,
    dropped_bytes: int = 0,
) -> None:
    values = {
        "device": device,
        "kept_bytes": kept_bytes,
        "dropped": dropped,
        "dropped_bytes": dropped_bytes,
    }
    connection.execute(_ACCOUNT[connection.dialect.name], values)
