"""The log book's page."""

from fastapi import Request, Response
from nicegui import ui

from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node
from fleet_server.console.sheets import log as sheet
from fleet_server.console.shell import open_page
from fleet_server.reading import diary


def register(house: House) -> None:
    """Serve the page at `/log`."""

    @ui.page("/log")
    async def page(request: Request) -> Response | None:
        query = request.query_params
        text, deployment = query.get("q", "")[:100].strip(), query.get("deployment", "")[:64]
        before = query.get("before", "")
        number = int(before) if before.isdecimal() and len(before) < 16 else None
        database, queries = house.context.database, house.context.queries

        async def looked(voice: Voice) -> Node:
            held, names = await house.looks.at(
                ("log", text, deployment, number),
                lambda _: (
                    diary.find(database, text=text, deployment=deployment, before=number),
                    tuple(each.name for each in queries.deployments()),
                ),
            )
            return sheet.compose(
                held, text=text, deployment=deployment, deployments=names, voice=voice
            )

        return await open_page(
            house, request, place="/log", title="Log book", look=looked, acts=(sheet.NOTE,)
        )
