"""What people should know: alerts raised, ended and acknowledged, and how telling them goes.

Laws:
- one alert of a key is open at a time: raising it again while it is open changes nothing;
- an alert of a condition ends when the condition does; one of an event (`EVENTS`) when somebody
  acknowledges it;
- raising an alert waits for nobody: whom it is told to is decided later, from the stored row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, func, select, update

from fleet_server.storage.database import Database
from fleet_server.storage.pages import equal, fields, page
from fleet_server.storage.report_tables import alerts, deliveries
from fleet_server.storage.upsert import insert

Severity = Literal["warning", "critical"]

Kind = Literal[
    "error-risen",
    "sensor-suspected",
    "training-failed",
    "rollout-paused",
    "car-silent",
    "messages-refused",
    "release-expires",
    "enrolment-code-misused",
]

EVENTS: frozenset[Kind] = frozenset({"enrolment-code-misused"})


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why to alert: `key` tells it from others, `subject` is the car, model or role it is about."""

    key: str
    kind: Kind
    severity: Severity
    subject: str
    reason: str
    deployment: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)
    verdict: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryView:
    """How telling an alert over one channel goes; all None while it waits for its turn."""

    channel: str
    attempts: int
    due_utc_us: int
    delivered_utc_us: int | None
    given_up_utc_us: int | None
    problem: str


@dataclass(frozen=True, kw_only=True)
class AlertView:
    """An alert; `ended_utc_us` is None while its cause lasts."""

    id: int
    key: str
    kind: str
    severity: str
    deployment: str
    subject: str
    reason: str
    evidence: dict[str, object]
    verdict: int | None
    utc_us: int
    acknowledged_utc_us: int | None
    acknowledged_by: str | None
    ended_utc_us: int | None
    deliveries: tuple[DeliveryView, ...]


def raise_alert(connection: Connection, cause: Cause, *, utc_us: int) -> int | None:
    """Open an alert; return its id, or None where it is open already."""
    number: int | None = connection.scalar(
        insert(connection, alerts)
        .values(
            key=cause.key,
            kind=cause.kind,
            severity=cause.severity,
            deployment=cause.deployment,
            subject=cause.subject,
            reason=cause.reason,
            evidence=msgspec.json.encode(dict(cause.evidence)).decode(),
            verdict=cause.verdict,
            utc_us=utc_us,
        )
        .on_conflict_do_nothing()
        .returning(alerts.c.id)
    )
    return number


def end(connection: Connection, keys: list[str], *, utc_us: int) -> None:
    """End the open alerts of `keys`, whose causes are gone."""
    connection.execute(
        update(alerts)
        .where(alerts.c.key.in_(keys), alerts.c.ended_utc_us.is_(None))
        .values(ended_utc_us=utc_us)
    )


def acknowledge(connection: Connection, number: int, *, by: str, utc_us: int) -> bool:
    """Note that somebody has seen an alert; tell whether it waited for that.

    It ends an alert of an event.
    """
    seen = update(alerts).where(alerts.c.id == number, alerts.c.acknowledged_utc_us.is_(None))
    kind = connection.scalar(
        seen.values(acknowledged_utc_us=utc_us, acknowledged_by=by).returning(alerts.c.kind)
    )
    if kind in EVENTS:
        ended = update(alerts).where(alerts.c.id == number, alerts.c.ended_utc_us.is_(None))
        connection.execute(ended.values(ended_utc_us=utc_us))
    return kind is not None


def open_keys(connection: Connection) -> dict[str, str]:
    """Return the kind of every open alert by its key."""
    query = select(alerts.c.key, alerts.c.kind).where(alerts.c.ended_utc_us.is_(None))
    return {row.key: row.kind for row in connection.execute(query)}


def listed(
    database: Database,
    *,
    deployment: str | None = None,
    number: int | None = None,
    only_open: bool = False,
    after: int = 0,
    limit: int = 100,
) -> tuple[AlertView, ...]:
    """Return alerts by row id, with how telling them goes."""
    query = select(alerts).where(*equal(alerts, deployment=deployment, id=number))
    if only_open:
        query = query.where(alerts.c.ended_utc_us.is_(None))
    with database.read() as connection:
        rows = page(connection, query, alerts, after, limit)
        told = _deliveries(connection, [row.id for row in rows])
    return tuple(
        AlertView(
            **fields(row, AlertView, skip={"evidence", "deliveries"}),
            evidence=msgspec.json.decode(row.evidence),
            deliveries=told.get(row.id, ()),
        )
        for row in rows
    )


def open_by_severity(database: Database) -> dict[str, int]:
    """Return how many alerts of each severity are open."""
    query = select(alerts.c.severity, func.count()).where(alerts.c.ended_utc_us.is_(None))
    with database.read() as connection:
        rows = connection.execute(query.group_by(alerts.c.severity)).all()
    return {row.severity: row[1] for row in rows}


def deliveries_by_state(database: Database) -> dict[str, int]:
    """Return how many deliveries wait, were made, and were given up."""
    query = select(
        func.count(),
        func.count(deliveries.c.delivered_utc_us),
        func.count(deliveries.c.given_up_utc_us),
    )
    with database.read() as connection:
        every, delivered, given_up = connection.execute(query).one()
    return {
        "waiting": every - delivered - given_up,
        "delivered": delivered,
        "given_up": given_up,
    }


def _deliveries(connection: Connection, ids: list[int]) -> dict[int, tuple[DeliveryView, ...]]:
    query = select(deliveries).where(deliveries.c.alert.in_(ids)).order_by(deliveries.c.id)
    found: dict[int, tuple[DeliveryView, ...]] = {}
    for row in connection.execute(query):
        found[row.alert] = (*found.get(row.alert, ()), _delivery(row))
    return found


def _delivery(row: Row[Any]) -> DeliveryView:
    return DeliveryView(**fields(row, DeliveryView))
