"""The HTTP application: REST under `/api/v1`, its documentation under `/docs`, health, metrics.

Laws:
- routes that cars call and routes that operators and workers call are apart;
- the documentation is read without the internet: its scripts and styles come from this server;
- what lies under `/api` and is no route is answered here, as a problem, never by the console;
- building the application starts nothing.
"""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from fleet_server.api import (
    data,
    device_facing,
    fleet,
    health,
    insight,
    models,
    problems,
    training,
)
from fleet_server.api.context import Context
from fleet_server.api.limits import BodyLimit
from shared import __version__

_DESCRIPTION = """
What programs and people ask of the fleet server. Cars speak MQTT; over REST they enrol, once.

Send `Authorization: Bearer TOKEN`; `parkfleet token create` makes a token. Lists come in pages:
ask again with `cursor` set to `next_cursor` until that is null. Errors are
`application/problem+json`. Times are UTC microseconds; labels and errors are in the task's unit.
"""


def create_app(context: Context) -> FastAPI:
    """Return the application that serves `context`."""
    app = FastAPIOffline(
        title="parkfleet",
        version=__version__,
        description=_DESCRIPTION,
        redoc_url=None,
        static_url="/docs/assets",
    )
    app.state.context = context
    problems.install(app)
    app.add_middleware(BodyLimit)
    for module in (health, device_facing, fleet, data, training, models, insight):
        app.include_router(module.router)
    problems.close(app, "/api")
    return app
