"""The cars of a large fleet, searched, filtered, sorted and cut into pages by the database.

Laws:
- a page costs two counts and the rows it shows, whatever the fleet's size; only an order by error
  looks at every car's last manoeuvre, by index;
- what is foreign in a search is a text to be found, never a pattern.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, and_, exists, func, nulls_last, select
from sqlalchemy.sql import ColumnElement

from fleet_server.reading.rows import device_views, manoeuvre_views
from fleet_server.reading.views import DeviceView, ManoeuvreView
from fleet_server.storage.database import Database
from fleet_server.storage.report_tables import alerts
from fleet_server.storage.tables import devices, manoeuvres, tallies

Order = Literal["name", "seen", "error", "pairs"]
Presence = Literal["", "online", "silent", "offline", "alerts", "unconfirmed", "revoked"]

RECENT = 12
"""Manoeuvres of each car that a page shows."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which cars are asked for, in which order; an empty text asks for nothing."""

    text: str = ""
    deployment: str = ""
    presence: Presence = ""
    order: Order = "name"
    is_descending: bool = False
    page: int = 1
    size: int = 50


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A car, its last manoeuvres, oldest first, and why people were alerted about it."""

    car: DeviceView
    recent: tuple[ManoeuvreView, ...]
    alerts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Roll:
    """A page of cars; `total` counts all that were asked for, `page` begins at 1."""

    entries: tuple[Entry, ...]
    total: int
    page: int
    pages: int


def find(database: Database, asked: Asked) -> Roll:
    """Return the page of cars that is asked for, or the last one where there are fewer.

    Raises:
        RetryLaterError: the database cannot be used now.
    """
    where = _conditions(asked)
    with database.read() as connection:
        query = select(func.count()).select_from(devices).where(*where)
        total = connection.scalar(query) or 0
        pages = max(1, -(-total // asked.size))
        page = min(max(1, asked.page), pages)
        rows = connection.execute(
            _ordered(select(devices).where(*where), asked)
            .offset((page - 1) * asked.size)
            .limit(asked.size)
        ).all()
        cars = device_views(connection, rows)
        recent = _recent(connection, [car.device for car in cars])
        told = _alerts(connection, [car.device for car in cars])
    entries = tuple(
        Entry(car=car, recent=recent.get(car.device, ()), alerts=told.get(car.device, ()))
        for car in cars
    )
    return Roll(entries=entries, total=total, page=page, pages=pages)


def _conditions(asked: Asked) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if asked.text:
        where.append(devices.c.name.contains(asked.text.lower(), autoescape=True))
    if asked.deployment:
        where.append(devices.c.deployment == asked.deployment)
    silent = devices.c.silent_since_utc_us.is_not(None)
    match asked.presence:
        case "online":
            where.append(and_(devices.c.online, ~silent))
        case "silent":
            where.append(and_(devices.c.online, silent))
        case "offline":
            where.append(~devices.c.online)
        case "unconfirmed" | "revoked":
            where.append(devices.c.state == asked.presence)
        case "alerts":
            is_open = alerts.c.ended_utc_us.is_(None)
            where.append(exists().where(alerts.c.subject == devices.c.name, is_open))
    return where


def _ordered(query: Select[Any], asked: Asked) -> Select[Any]:
    by: ColumnElement[Any]
    match asked.order:
        case "seen":
            by = devices.c.last_seen_utc_us
        case "pairs":
            by = devices.c.pairs_stored
        case "error":
            by = _last_error()
        case "name":
            by = devices.c.name
    return query.order_by(nulls_last(by.desc() if asked.is_descending else by), devices.c.id)


def _last_error() -> ColumnElement[Any]:
    """Return the mean error of the last manoeuvre of a row of `devices`."""
    last = (
        select(func.max(manoeuvres.c.id))
        .where(manoeuvres.c.device == devices.c.name)
        .correlate(devices)
        .scalar_subquery()
    )
    same = and_(
        *(tallies.c[name] == manoeuvres.c[name] for name in ("device", "boot", "manoeuvre"))
    )
    mean = func.sum(tallies.c.error_sum) / func.nullif(func.sum(tallies.c.labelled), 0)
    return (
        select(mean)
        .select_from(manoeuvres)
        .join(tallies, same)
        .where(manoeuvres.c.id == last, tallies.c.led > 0, tallies.c.model != "")
        .correlate(devices)
        .scalar_subquery()
    )


def _recent(connection: Connection, names: list[str]) -> dict[str, tuple[ManoeuvreView, ...]]:
    rows: list[Row[Any]] = []
    for name in names:
        query = select(manoeuvres).where(manoeuvres.c.device == name)
        newest = connection.execute(query.order_by(manoeuvres.c.id.desc()).limit(RECENT)).all()
        rows += newest[::-1]
    found: dict[str, tuple[ManoeuvreView, ...]] = {}
    for view in manoeuvre_views(connection, rows):
        found[view.device] = (*found.get(view.device, ()), view)
    return found


def _alerts(connection: Connection, names: list[str]) -> dict[str, tuple[str, ...]]:
    query = select(alerts.c.subject, alerts.c.kind).where(
        alerts.c.subject.in_(names), alerts.c.ended_utc_us.is_(None)
    )
    found: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(query.order_by(alerts.c.id)):
        found[row.subject] = (*found.get(row.subject, ()), row.kind)
    return found
