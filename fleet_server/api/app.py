"""The HTTP application: REST under `/api/v1`, its documentation under `/docs`, health, metrics.

Laws:
- routes that cars call and routes that operators and workers call are apart;
- the documentation is read without the internet: its scripts and styles come from this server;
- what lies under `/api` and is no route is answered here, as a problem, never by the console;
- building the application starts nothing.

A process that serves no REST has `create_probes` alone: health and metrics.
"""

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from fleet_server.api import (
    alerts,
    data,
    deploying,
    device_facing,
    fleet,
    health,
    insight,
    lineage,
    models,
    orders,
    problems,
    quarantine,
    runs,
    standing,
    tokens,
    training,
)
from fleet_server.api.context import Context
from fleet_server.api.etags import ETags
from fleet_server.api.limits import BodyLimit
from fleet_server.api.requests import Told
from shared import __version__

_DESCRIPTION = """
What programs and people ask of the fleet server. Cars speak MQTT; over REST they enrol, once.

Send `Authorization: Bearer TOKEN`; `parkfleet token create` makes a token. Lists come in pages:
ask again with `cursor` set to `next_cursor` until that is null. Every change asks for its reason,
which the log book (`decisions`) keeps. Errors are `application/problem+json`. Times are UTC
microseconds; labels and errors are in the task's unit. An answer's `ETag`, sent back as
`If-None-Match`, saves sending it again; `X-Request-Id` finds a request in the server's log.
"""

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    device_facing.router,
    fleet.router,
    standing.router,
    deploying.router,
    data.router,
    quarantine.router,
    training.router,
    runs.router,
    models.router,
    insight.router,
    lineage.router,
    alerts.router,
    orders.router,
    tokens.router,
)


def create_app(context: Context) -> FastAPI:
    """Return the application that serves `context`."""
    app = FastAPIOffline(
        title="parkfleet",
        version=__version__,
        description=_DESCRIPTION,
        redoc_url=None,
        static_url="/docs/assets",
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(ETags)
    app.add_middleware(Told, prefix="/api/")
    for router in ROUTERS:
        app.include_router(router)
    problems.close(app, "/api")
    return app


def create_probes(context: Context) -> FastAPI:
    """Return the application of a process that only says how it is, and no more."""
    app = FastAPI(title="parkfleet", version=__version__, openapi_url=None)
    app.state.context = context
    problems.install(app)
    app.include_router(health.router)
    problems.close(app, "/")
    return app
