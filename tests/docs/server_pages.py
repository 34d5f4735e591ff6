"""The server's reference pages, from its own tables: routes with their roles, and metrics."""

from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from fleet_server.api.access import Allow
from fleet_server.api.app import ROUTERS
from fleet_server.reading.metrics import FAMILIES


def rest(written: str) -> str:
    """Return the page of all routes and who may call them."""
    rows = "\n".join(_row(route) for route in routes())
    return f"""{written}
# REST

The server describes itself at `/docs` and `/openapi.json`: what each route takes and answers.
Lists come in pages: ask again with `cursor` set to `next_cursor` until that is null. Every change
asks for its `reason`, which the log book keeps. Errors are `application/problem+json`. An answer's
`ETag`, sent back as `If-None-Match`, saves sending it again.

A token is sent as `Authorization: Bearer TOKEN`; `parkfleet token create` makes the first one.

| | route | what it does | roles |
|---|---|---|---|
{rows}
"""


def metrics(written: str) -> str:
    """Return the page of all metrics."""
    rows = "\n".join(
        f"| `{each.full_name}` | {each.kind} | {', '.join(f'`{name}`' for name in each.labels)} "
        f"| {each.text} |"
        for each in FAMILIES
    )
    return f"""{written}
# Metrics

`GET /metrics`, in Prometheus' text format, with a viewer's token. "This process" counts from its
own start; everything else is the fleet's, whichever process is asked. Beside these are the
process's own (`process_...`), as Prometheus' library names them.

| name | type | labels | what it is |
|---|---|---|---|
{rows}
"""


def routes() -> Iterator[APIRoute]:
    """Yield every route of the application."""
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute):
                yield route


def roles(dependant: Dependant) -> tuple[str, ...]:
    """Return the roles that a route asks for, none where it asks for no token."""
    for each in dependant.dependencies:
        if isinstance(each.call, Allow):
            return each.call.roles
    return ()


def _row(route: APIRoute) -> str:
    (method,) = route.methods or {""}
    who = ", ".join(roles(route.dependant)) or "anybody"
    summary = route.description.partition("\n\n")[0].replace("\n", " ")
    return f"| {method} | `{route.path_format}` | {summary} | {who} |"
