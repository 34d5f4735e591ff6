"""Puts the console on the server's app.

Laws:
- one cookie is set, and only by signing in; nobody is counted;
- the console is mounted last, behind the API's own paths.
"""

from fastapi import FastAPI
from nicegui import ui

from fleet_server.api.context import Context
from fleet_server.console import gate, pages
from fleet_server.console.asking import Asking
from fleet_server.console.gate import Gate
from fleet_server.console.house import House, Looks
from fleet_server.console.sessions import Sessions
from fleet_server.console.theme import FAVICON


def mount(app: FastAPI, context: Context) -> None:
    """Serve the console on `app`, which already has all its other routes, at `/`."""
    settings = context.settings
    house = House(
        context=context,
        sessions=Sessions(
            context.database,
            context.clock,
            guests=settings.console_guests,
            whole_s=settings.console_session_s,
        ),
        asking=Asking(app),
        looks=Looks(context.clock),
    )
    gate.install(app, house)
    app.add_middleware(Gate, house=house)
    pages.register(house)
    ui.run_with(
        app,
        title="parkfleet",
        favicon=FAVICON,
        dark=None,
        language="en-GB",
        binding_refresh_interval=None,
        tailwind=False,
        show_welcome_message=False,
    )
