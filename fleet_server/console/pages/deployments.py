"""The page of deployments."""

from fastapi import Request, Response
from nicegui import ui

from fleet_server.api.context import Context
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node
from fleet_server.console.sheets import deployments as sheet
from fleet_server.console.sheets.deployments import Side
from fleet_server.console.shell import open_page
from fleet_server.reading import searches

COMPARED = 1000
"""Pairs of each deployment that are compared."""


def register(house: House) -> None:
    """Serve the page at `/deployments`."""

    @ui.page("/deployments")
    async def page(request: Request) -> Response | None:
        query = request.query_params
        names = [query[each][:64] for each in ("left", "right") if query.get(each)]
        # A comparison is made once for a page: its plots would cost a thousand pairs a second.
        sides: list[Side] = []

        async def looked(voice: Voice) -> Node:
            held = await house.looks.at(
                "deployments", lambda _: house.context.queries.deployments()
            )
            known = {each.name for each in held}
            if len(names) == 2 and not sides and known.issuperset(names):
                sides.extend(
                    await house.looks.at(
                        ("compared", *names),
                        lambda _: [compared(house.context, name) for name in names],
                    )
                )
            return sheet.compose(held, sides, voice)

        return await open_page(
            house,
            request,
            place="/deployments",
            title="Deployments",
            look=looked,
            acts=sheet.ACTS,
        )


def compared(context: Context, name: str) -> Side:
    """Return what is compared of a deployment."""
    pairs = searches.newest(context.database, deployment=name, limit=COMPARED)
    return sheet.side_of(name, pairs)
