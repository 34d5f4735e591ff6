"""The system's page; tokens are read for administrators alone."""

import shutil
from typing import Any

from fastapi import Request, Response
from nicegui import ui
from sqlalchemy import Connection, Table, select

from fleet_server.api.access import ADMINS
from fleet_server.api.context import Context
from fleet_server.api.fleet import EnrolmentView
from fleet_server.api.tokens import TokenView
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node
from fleet_server.console.sheets import system as sheet
from fleet_server.console.sheets.system import MINUTE_US, System
from fleet_server.console.shell import open_page
from fleet_server.reading import flow
from fleet_server.storage import tables
from fleet_server.storage.opening import FILE
from fleet_server.storage.pages import page as rows_of
from fleet_server.storage.pages import views
from fleet_server.telling import alerts

_SHOWN = 50


def register(house: House) -> None:
    """Serve the page at `/system`."""

    @ui.page("/system")
    async def page(request: Request) -> Response | None:
        async def looked(voice: Voice) -> Node:
            is_admin = voice.role in ADMINS
            held = await house.looks.at(
                ("system", is_admin), lambda _: read(house.context, is_admin=is_admin)
            )
            return sheet.compose(held, voice, house.context.clock.utc_us())

        return await open_page(
            house, request, place="/system", title="System", look=looked, acts=sheet.ACTS
        )


def read(context: Context, *, is_admin: bool) -> System:
    """Return what is known of the system; of tokens nothing but to administrators."""
    queries, database, settings = context.queries, context.database, context.settings
    totals = queries.totals()
    is_file = settings.database is None
    with database.read() as connection:
        enrolments = _newest(connection, tables.enrolments, EnrolmentView)
        tokens = _newest(connection, tables.tokens, TokenView) if is_admin else ()
    return System(
        totals=totals,
        alerts=alerts.listed(database, only_open=True, limit=_SHOWN),
        quarantine=queries.quarantine(limit=_SHOWN),
        enrolments=enrolments,
        tokens=tokens,
        deployments=tuple(each.name for each in queries.deployments()),
        flow=flow.since(database, context.clock.utc_us() - MINUTE_US),
        stored_bytes=(context.state / FILE).stat().st_size if is_file else None,
        database="SQLite" if is_file else "PostgreSQL",
        disk_free_bytes=shutil.disk_usage(context.state).free,
        broker=f"{settings.broker_host}:{settings.broker_port}",
        is_broker_heard=context.live.is_connected,
    )


def _newest(connection: Connection, table: Table, view: type[Any]) -> tuple[Any, ...]:
    columns = [table.c[name] for name in view.__dataclass_fields__]
    rows = rows_of(connection, select(*columns), table, 0, _SHOWN, newest=True)
    return views(view, rows)[::-1]
