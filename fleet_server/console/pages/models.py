"""The pages of models: all, and one."""

import json

from fastapi import Request, Response
from nicegui import ui
from sqlalchemy import Connection, func, select

from fleet_server.api.context import Context
from fleet_server.console import parts
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node, node
from fleet_server.console.sheets import models as sheet
from fleet_server.console.sheets.models import DOCUMENTS, Document, Portrait
from fleet_server.console.shell import open_page
from fleet_server.reading.lineage import Lineage
from fleet_server.storage.tables import devices
from fleet_server.training import runs
from fleet_server.training.runs import ArtefactView
from shared.ids import is_sha256

_MOST_BYTES = 200_000


def register(house: House) -> None:
    """Serve the pages at `/models` and `/models/{sha256}`."""

    @ui.page("/models")
    async def every(request: Request) -> Response | None:
        async def looked(_voice: Voice) -> Node:
            found, running = await house.looks.at(
                "models",
                lambda _: (house.context.queries.models()[::-1], _running(house.context)),
            )
            return sheet.compose(found, running)

        return await open_page(house, request, place="/models", title="Models", look=looked)

    @ui.page("/models/{sha256}")
    async def one(request: Request, sha256: str) -> Response | None:
        async def looked(_voice: Voice) -> Node:
            held = await house.looks.at(("model", sha256), lambda _: (read(house.context, sha256),))
            return sheet.portrait(held[0]) if held[0] else _unknown()

        name = f"Model {sha256[:8]}" if is_sha256(sha256) else "No such model"
        return await open_page(house, request, place="/models", title=name, look=looked)


def _unknown() -> Node:
    sentence = "No model of that digest is registered."
    return node("div", parts.empty(sentence), node("p", parts.link("All models", "models")))


def _running(context: Context) -> dict[str, int]:
    query = select(devices.c.loaded, func.count().label("cars")).group_by(devices.c.loaded)
    with context.database.read() as connection:
        return {row.loaded: row.cars for row in connection.execute(query) if row.loaded}


def read(context: Context, sha256: str) -> Portrait | None:
    """Return a model with what belongs to it, or None where none of that digest is registered."""
    lineage = Lineage(context.database).of_model(sha256) if is_sha256(sha256) else None
    if lineage is None:
        return None
    cars = select(devices.c.name).filter_by(loaded=sha256).order_by(devices.c.name)
    with context.database.read() as connection:
        running = tuple(connection.scalars(cars))
        kept = {each.name: each for each in lineage.artefacts}
        documents = tuple(_document(connection, kept[name]) for name in DOCUMENTS if name in kept)
    return Portrait(lineage=lineage, documents=documents, running=running)


def _document(connection: Connection, file: ArtefactView) -> Document:
    body = runs.content(connection, file.job, file.attempt, file.name).body
    text = bytes(body[:_MOST_BYTES]).decode("utf-8", "replace")
    try:
        value = json.loads(text) if file.name.endswith(".json") else text
    except (ValueError, RecursionError):
        # A worker's bytes are foreign: what is no JSON is shown as it came.
        value = text
    return Document(name=file.name, value=value)
