"""The page of drift."""

from fastapi import Request, Response
from nicegui import ui

from fleet_server.api.context import Context
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node
from fleet_server.console.sheets import drift as sheet
from fleet_server.console.sheets.drift import Case
from fleet_server.console.shell import open_page
from fleet_server.reading import diary
from fleet_server.reading.views import VerdictView

_CASES = 20
_COURSE = 60
_LOOKED_AT = 1000


def register(house: House) -> None:
    """Serve the page at `/drift`."""

    @ui.page("/drift")
    async def page(request: Request) -> Response | None:
        async def looked(voice: Voice) -> Node:
            cases, over = await house.looks.at("drift", lambda _: read(house.context))
            return sheet.compose(cases, over, voice)

        acts = (sheet.APPROVE, sheet.VETO)
        return await open_page(
            house, request, place="/drift", title="Drift", look=looked, acts=acts
        )


def read(context: Context) -> tuple[list[Case], list[VerdictView]]:
    """Return what is open, with its evidence, and what is over, the newest first."""
    queries = context.queries
    still = queries.verdicts(only_open=True, limit=_LOOKED_AT)[::-1][:_CASES]
    over = [each for each in queries.verdicts(limit=_LOOKED_AT) if each.cleared_utc_us is not None]
    versions = {each.sha256: each.version for each in queries.models()}
    units = {each.name: str(each.task.get("unit", "mm")) for each in queries.deployments()}
    said = diary.about(context.database, [each.id for each in still])
    cases = [
        Case(
            verdict=each,
            version=versions.get(each.model),
            unit=units.get(each.deployment, "mm"),
            course=queries.manoeuvres(device=each.device, limit=_COURSE, newest=True)
            if each.device
            else (),
            decisions=tuple(decision for decision in said if decision.verdict == each.id),
        )
        for each in still
    ]
    return cases, over[::-1][:_CASES]
