"""Alerts: what people should know, and who has seen it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from fleet_server import logbook
from fleet_server.api.access import Guarded, Operator, Reader
from fleet_server.api.bodies import Because
from fleet_server.api.context import Context, Served
from fleet_server.api.filters import OfDeployment, RowId
from fleet_server.api.links import of_first
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.reading.views import Page
from fleet_server.telling import alerts
from fleet_server.telling.alerts import AlertView
from fleet_server.telling.channels import channels, webhook_key
from fleet_server.telling.rules import public_key

router = APIRouter(
    prefix="/api/v1",
    tags=["alerts"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)


@router.get(
    "/alerts",
    responses=of_first(
        ("get_alert", "acknowledge_alert", "get_alert_lineage", "list_samples_of_alert"),
        number="id",
    ),
)
def list_alerts(
    context: Served,
    _who: Reader,
    *,
    cursor: Cursor = 0,
    limit: Limit = 100,
    deployment: OfDeployment = None,
    only_open: Annotated[bool, Query(description="Only those whose cause lasts.")] = False,
) -> Page[AlertView]:
    """List the alerts, and how telling people of them goes."""
    found = alerts.listed(
        context.database, deployment=deployment, only_open=only_open, after=cursor, limit=limit
    )
    return page(found, limit)


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Over what people are told, and the key (Standard Webhooks, `v1a`) that checks webhooks."""

    names: tuple[str, ...]
    public_key: str


@router.get("/alerts/channels")
def get_channels(context: Served, _who: Reader) -> Channels:
    """Return over what people are told of alerts, and the key that webhooks are checked with."""
    key = webhook_key(context.state)
    names = tuple(channel.name for channel in channels(context.settings, key))
    return Channels(names=names, public_key=public_key(key))


@router.get("/alerts/{number:int}", responses=documented(404))
def get_alert(number: RowId, context: Served, _who: Reader) -> AlertView:
    """Return one alert."""
    return _alert(context, number)


@router.post("/alerts/{number}/acknowledge", responses=documented(404, 409))
def acknowledge_alert(number: RowId, body: Because, context: Served, who: Operator) -> AlertView:
    """Note that you have seen an alert, and what you make of it."""
    found = _alert(context, number)
    now = context.clock.utc_us()
    with context.database.write() as connection:
        if not alerts.acknowledge(connection, number, by=who.name, utc_us=now):
            raise HTTPException(409, f"alert {number} was acknowledged already")
        logbook.write(
            connection,
            utc_us=now,
            deployment=found.deployment,
            kind="acknowledge-alert",
            reason=body.reason,
            actor=who.name,
            evidence={"alert": number},
            verdict=found.verdict,
        )
    return _alert(context, number)


def _alert(context: Context, number: int) -> AlertView:
    found = alerts.listed(context.database, number=number, limit=1)
    if not found:
        raise HTTPException(404, f"there is no alert {number}")
    return found[0]
