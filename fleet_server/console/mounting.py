"""Puts the console on the server's app.

Laws:
- no cookie is set and nobody is counted: there is no session, since there is no sign-in yet;
- the console is mounted last, behind the API's own paths.
"""

from fastapi import FastAPI
from nicegui import ui

from fleet_server.console.pages import fleet
from fleet_server.console.reader import Looks, Reader
from fleet_server.console.theme import FAVICON
from shared.clock import Clock, SystemClock


def mount(app: FastAPI, reader: Reader, clock: Clock | None = None) -> None:
    """Serve the console on `app`, which already has all its other routes, at `/`.

    The page shows what `reader` returns, to anyone who reaches the server: it listens on loopback.
    """
    clock = clock or SystemClock()
    fleet.register(Looks(reader, clock), clock)
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
