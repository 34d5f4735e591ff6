"""One car's page; its live values follow within half a second."""

from fastapi import Request, Response
from nicegui import ui

from fleet_server.api.context import Context
from fleet_server.cars import commanding
from fleet_server.console import parts
from fleet_server.console.acts import Voice
from fleet_server.console.house import House
from fleet_server.console.nodes import Node, node
from fleet_server.console.sheet import Sheet
from fleet_server.console.sheets import car as sheet
from fleet_server.console.sheets import car_acts
from fleet_server.console.sheets.car import Portrait
from fleet_server.console.shell import Page, open_page
from fleet_server.reading import searches, updates
from fleet_server.telling import alerts
from shared.ids import is_device_name

LIVE_S = 0.2
"""Pause between two looks at the live values: the car says them five times a second."""

_MANOEUVRES = 60
_PAIRS = 40
_PICTURES = 12
_STEPS = 60
_ORDERS = 10


def register(house: House) -> None:
    """Serve the pages at `/cars/{name}`."""

    @ui.page("/cars/{name}")
    async def page(request: Request, name: str) -> Response | None:
        shown = _Live(house, name)

        async def looked(voice: Voice) -> Node:
            held = await house.looks.at(("car", name), lambda _: (read(house.context, name),))
            if held[0] is None:
                return unknown(name)
            shown.unit = held[0].unit
            return sheet.compose(held[0], voice, house.context.clock.utc_us())

        return await open_page(
            house,
            request,
            place="/",
            title=name if is_device_name(name) else "No such car",
            look=looked,
            acts=car_acts.acts_of(name),
            above=shown.build,
        )


class _Live:
    """The live values above the page."""

    def __init__(self, house: House, name: str) -> None:
        self._house = house
        self._name = name
        self.unit = "mm"

    def build(self, page: Page) -> None:
        self._page = page
        self._sheet = Sheet()
        self.update()
        page.timers.append((LIVE_S, self.update))

    def update(self) -> None:
        if self._page.is_over:
            self._sheet.show(node("div"))
            return
        now_us = self._house.context.clock.monotonic_us()
        heard = self._house.context.live.look(self._name, now_us)
        self._sheet.show(sheet.live(heard, self.unit, now_us))


def unknown(name: str) -> Node:
    """Return what is shown of a car that there is not."""
    return node(
        "div",
        parts.empty(f"No car is called {name[:60]}."),
        node("p", parts.link("All cars"), cls="more"),
    )


def read(context: Context, name: str) -> Portrait | None:
    """Return what is known of a car, or None where there is none of that name."""
    queries, database = context.queries, context.database
    car = queries.device(name)
    if car is None:
        return None
    with database.read() as connection:
        orders = commanding.newest(connection, name, limit=_ORDERS)
    deployments = queries.deployments()
    task = next((each for each in deployments if each.name == car.deployment), None)
    told = alerts.listed(database, only_open=True, limit=1000)
    return Portrait(
        car=car,
        task=task,
        manoeuvres=queries.manoeuvres(device=name, limit=_MANOEUVRES, newest=True),
        history=queries.history(name),
        pairs=searches.newest(database, device=name, limit=_PAIRS),
        pictures=searches.newest(database, device=name, limit=_PICTURES, has_picture=True),
        updates=updates.newest(database, name, limit=_STEPS),
        commands=orders,
        alerts=tuple(each for each in told if each.subject == name),
        deployments=tuple(each.name for each in deployments if each.status == "active"),
    )
