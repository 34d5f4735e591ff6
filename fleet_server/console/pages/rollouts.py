"""The page of rollouts."""

from fastapi import Request, Response
from nicegui import ui

from fleet_server.api.context import Context
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node
from fleet_server.console.sheets import rollouts as sheet
from fleet_server.console.sheets.rollouts import Rollout
from fleet_server.console.shell import open_page
from fleet_server.reading import diary
from fleet_server.reading.views import DecisionView
from fleet_server.rollout import ruling

_KINDS = (
    "promote", "rollout-abort", "rollout-advance", "rollout-begin", "rollout-pause",
    "rollout-resume",
)  # fmt: skip
_STEPS = 20


def register(house: House) -> None:
    """Serve the page at `/rollouts`."""

    @ui.page("/rollouts")
    async def page(request: Request) -> Response | None:
        async def looked(voice: Voice) -> Node:
            held, spread, steps = await house.looks.at("rollouts", lambda _: read(house.context))
            return sheet.compose(held, spread, steps, voice)

        return await open_page(
            house, request, place="/rollouts", title="Rollouts", look=looked, acts=sheet.ACTS
        )


def read(
    context: Context,
) -> tuple[list[Rollout], list[tuple[str, int, int, int]], tuple[DecisionView, ...]]:
    """Return each deployment's newest rollout, how far the latest has come, and the last steps."""
    queries = context.queries
    versions = {each.sha256: each.version for each in queries.models()}
    with context.database.read() as connection:
        found = [ruling.last(connection, each.name) for each in queries.deployments()]
    held = [
        Rollout(view=each, version=versions.get(each.model)) for each in found if each is not None
    ]
    spread = [(each.deployment, each.version, each.wanted, each.loaded)
              for each in queries.rollouts()]  # fmt: skip
    return held, spread, diary.of_kinds(context.database, _KINDS, limit=_STEPS)
