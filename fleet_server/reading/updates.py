"""What cars told of their model updates, step by step, with the evidence."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import select

from fleet_server.storage.database import Database
from fleet_server.storage.tables import update_events
from shared.messages import UpdateEvent


@dataclass(frozen=True, kw_only=True)
class UpdateView:
    """One step: `model` is its digest where the car knew it, `evidence` numbers by name."""

    id: int
    received_utc_us: int
    target: str
    model: str | None
    state: str
    reason: str
    evidence: dict[str, float]


def newest(database: Database, device: str, *, limit: int) -> tuple[UpdateView, ...]:
    """Return a car's last steps, oldest first."""
    query = select(update_events).filter_by(device=device)
    with database.read() as connection:
        rows = connection.execute(query.order_by(update_events.c.id.desc()).limit(limit)).all()
    steps = [(row, msgspec.msgpack.decode(row.body, type=UpdateEvent)) for row in rows[::-1]]
    return tuple(
        UpdateView(
            id=row.id,
            received_utc_us=row.received_utc_us,
            target=said.target,
            model=said.model,
            state=said.state,
            reason=said.reason,
            evidence=dict(said.evidence),
        )
        for row, said in steps
    )
