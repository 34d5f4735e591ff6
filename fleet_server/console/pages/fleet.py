"""The first page: the fleet at a glance, live.

Laws:
- the page is built once; each second only what changed is sent;
- what is asked for stands in the page's address, so that it can be kept and sent to others.
"""

import asyncio
from typing import get_args

from fastapi import Request, Response
from nicegui import ui

from fleet_server.console.acts import Voice
from fleet_server.console.board import Board, CarRow, car_row, compose
from fleet_server.console.charts import error_chart
from fleet_server.console.house import House
from fleet_server.console.nodes import Node
from fleet_server.console.reader import Fleet, look
from fleet_server.console.sheet import Sheet
from fleet_server.console.sheets import fleet as sheet
from fleet_server.console.shell import open_page
from fleet_server.console.theme import Text, empty, part, show
from fleet_server.reading import roll
from fleet_server.reading.roll import Asked, Order, Presence, Roll

_NO_POINTS = (
    "No car has parked by camera yet. Cars log labelled pictures while they park by their sensor; "
    "once enough are here, the server has the first model trained by a worker:"
)
_TRAIN = "parkfleet trainer work --server http://127.0.0.1:8080 --token-file trainer.token"


def register(house: House) -> None:
    """Serve the page at `/`."""

    @ui.page("/")
    async def page(request: Request) -> Response | None:
        asked = wanted(dict(request.query_params))
        below = _Below()

        async def looked(_voice: Voice) -> Node:
            fleet = await house.looks.at(
                "fleet", lambda before: look(house.context.queries, before)
            )
            found = await house.looks.at(asked, lambda _: roll.find(house.context.database, asked))
            now_us = house.context.clock.utc_us()
            board = await asyncio.to_thread(compose, fleet, now_us)
            below.update(board)
            rows = _rows(found, board, now_us)
            return sheet.compose(board, found, rows, asked, _deployments(fleet))

        return await open_page(
            house, request, place="/", title="The fleet", look=looked, below=below.build
        )


def wanted(query: dict[str, str]) -> Asked:
    """Return what a page's address asks for; what cannot be meant asks for nothing."""
    order, presence, page = query.get("order"), query.get("presence"), query.get("page", "")
    return Asked(
        text=query.get("q", "")[:48].strip(),
        deployment=query.get("deployment", "")[:64],
        presence=next((each for each in get_args(Presence) if each == presence), ""),
        order=next((each for each in get_args(Order) if each == order), "name"),
        is_descending=query.get("down") == "1",
        page=int(page) if page.isdecimal() and len(page) < 7 else 1,
    )


def _rows(found: Roll, board: Board, now_us: int) -> list[CarRow]:
    rows = []
    for entry in found.entries:
        last = next((each for each in reversed(entry.recent) if each.mae is not None), None)
        rows.append(car_row(entry.car, 0, last, board.unit, now_us))
    return rows


def _deployments(fleet: Fleet) -> list[str]:
    return [each.name for each in fleet.deployments]


class _Below:
    """The chart and the newest decisions, under the table."""

    def build(self) -> None:
        with part("Error per manoeuvre", "How far the cameras' estimates lie from the sensors."):
            self._empty = empty(_NO_POINTS, _TRAIN)
            self._chart = ui.echart({}, renderer="svg").classes("chart")
            self._chart.props(
                'role=img aria-label="Mean error of each manoeuvre, a line for each car"'
            )
            self._summary = Text("p", "", "unseen")
        self._log = Sheet()

    def update(self, board: Board) -> None:
        has_points = any(line.points for line in board.lines)
        show(self._empty, not has_points)
        show(self._chart, has_points)
        self._summary.say(board.chart_summary)
        options = error_chart(board)
        if has_points and options != self._chart.options:
            self._chart.options.clear()
            self._chart.options.update(options)
            self._chart.update()
        self._log.show(sheet.log(board))
