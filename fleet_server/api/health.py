"""Health and readiness, without a token, for supervisors; metrics for Prometheus."""

from dataclasses import dataclass

from fastapi import APIRouter, Response

from fleet_server.api.access import Guarded, Reader
from fleet_server.api.context import Served
from fleet_server.api.problems import documented
from fleet_server.reading import metrics

router = APIRouter(tags=["health"], route_class=Guarded)


@dataclass(frozen=True, kw_only=True)
class Health:
    """The server answers."""

    status: str


@router.get("/health")
def health() -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


@router.get("/ready", responses=documented(503))
def ready(context: Served) -> Health:
    """Tell that the database answers, so that work can be sent here."""
    context.queries.deployments(limit=1)
    return Health(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **documented(401, 403, 503)},
)
def show_metrics(context: Served, _who: Reader) -> Response:
    """Return the fleet in numbers, in Prometheus' text format; docs/reference/metrics.md."""
    dropped = sum(each.dropped for each in context.connections)
    body = metrics.exposition(context.database, context.outcomes, context.traffic, dropped=dropped)
    return Response(body, media_type=metrics.CONTENT_TYPE)
