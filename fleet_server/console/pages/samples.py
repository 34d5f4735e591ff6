"""The pages of samples: the contact sheet, and one pair."""

from fastapi import Request, Response
from nicegui import ui

from fleet_server.api.context import Context
from fleet_server.console import parts
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node, node
from fleet_server.console.sheets import samples as sheet
from fleet_server.console.sheets.samples import Asked
from fleet_server.console.shell import open_page
from fleet_server.reading import annotations, searches
from fleet_server.reading.annotations import AnnotationView
from fleet_server.reading.searches import Found, Wanted
from fleet_server.reading.views import DeploymentView, SampleView
from shared.ids import SampleKey

_SHOWN = 48


def register(house: House) -> None:
    """Serve the pages at `/samples` and `/samples/{device}/{boot}/{sequence}`."""

    @ui.page("/samples")
    async def every(request: Request) -> Response | None:
        wanted = sheet.asked(request.query_params)

        async def looked(_voice: Voice) -> Node:
            found, deployments, models = await house.looks.at(
                wanted, lambda _: read(house.context, wanted)
            )
            return sheet.compose(
                found,
                wanted,
                deployments=[each.name for each in deployments],
                models=models,
                unit=_unit(deployments, wanted.deployment),
            )

        return await open_page(house, request, place="/samples", title="Samples", look=looked)

    @ui.page("/samples/{device}/{boot}/{sequence}")
    async def one(request: Request, device: str, boot: str, sequence: int) -> Response | None:
        key = SampleKey(device, boot, sequence)

        async def looked(voice: Voice) -> Node:
            held = await house.looks.at(key, lambda _: _one(house.context, key))
            pair, written, versions, deployments = held
            if pair is None:
                return _unknown()
            unit = _unit(deployments, pair.deployment)
            return sheet.portrait(pair, written, versions, unit, voice)

        return await open_page(
            house,
            request,
            place="/samples",
            title=f"Pair {sequence} of {device}"[:80],
            look=looked,
            acts=(sheet.act_of(key),),
        )


def read(
    context: Context, wanted: Asked
) -> tuple[Found, tuple[DeploymentView, ...], list[tuple[str, str]]]:
    """Return the pairs that are asked for, the deployments, and the models by digest."""
    queries = context.queries
    models = queries.models(deployment=wanted.deployment or None)[::-1]
    found = searches.browse(
        context.database,
        Wanted(
            device=wanted.device or None,
            deployment=wanted.deployment or None,
            label_from=wanted.label_from,
            label_to=wanted.label_to,
        ),
        wanted.keeps,
        before=wanted.before,
        limit=_SHOWN,
    )
    names = [(each.sha256, f"v{each.version} of {each.deployment}") for each in models]
    return found, queries.deployments(), names


def _one(
    context: Context, key: SampleKey
) -> tuple[
    SampleView | None, tuple[AnnotationView, ...], dict[str, int], tuple[DeploymentView, ...]
]:
    queries = context.queries
    versions = {each.sha256: each.version for each in queries.models()}
    return (
        searches.one(context.database, key),
        annotations.listed(context.database, key),
        versions,
        queries.deployments(),
    )


def _unit(deployments: tuple[DeploymentView, ...], name: str) -> str:
    known = [each for each in deployments if each.name == name] or list(deployments)
    return str(known[0].task.get("unit", "mm")) if known else "mm"


def _unknown() -> Node:
    sentence = "No such pair is stored; it may have been erased."
    return node("div", parts.empty(sentence), node("p", parts.link("All pairs", "samples")))
