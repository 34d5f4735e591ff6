"""The HTTP application: REST under `/api/v1`, its documentation under `/docs`, health, metrics.

Laws:
- routes that cars call and routes that operators and workers call are apart;
- building the application starts nothing.
"""

from fastapi import FastAPI

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
    app = FastAPI(title="parkfleet", version=__version__, description=_DESCRIPTION)
    app.state.context = context
    problems.install(app)
    app.add_middleware(BodyLimit)
    for module in (health, device_facing, fleet, data, training, models, insight):
        app.include_router(module.router)
    return app
