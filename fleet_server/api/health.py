"""Health, readiness and metrics; without a token, for supervisors and Prometheus."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Response

from fleet_server.api.context import Context, Served
from fleet_server.api.problems import documented

router = APIRouter(tags=["health"])


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


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(context: Served) -> Response:
    """Return the fleet in numbers, in Prometheus' text format."""
    return Response("".join(_lines(context)), media_type="text/plain; version=0.0.4")


def _lines(context: Context) -> Iterator[str]:
    totals = context.queries.totals()
    yield from _metric("devices", "gauge", "Enrolled cars.", {"": totals.devices})
    yield from _metric("devices_online", "gauge", "Cars that are reachable.", {"": totals.online})
    yield from _metric("pairs_stored", "counter", "Pairs stored.", {"": totals.pairs_stored})
    yield from _metric("pictures_stored", "counter", "Pictures stored.", {"": totals.pictures})
    yield from _metric("manoeuvres_stored", "counter", "Manoeuvres.", {"": totals.manoeuvres})
    yield from _metric("models_registered", "counter", "Models.", {"": totals.models})
    yield from _metric("decisions", "counter", "Log book entries.", {"": totals.decisions})
    yield from _metric("quarantined", "gauge", "Messages put aside.", {"": totals.quarantined})
    names = ("stored", "duplicate", "rejected", "unproven")
    outcomes = {f'{{outcome="{name}"}}': context.outcomes[name] for name in names}
    yield from _metric("batches", "counter", "Batches since the start, by outcome.", outcomes)
    states = ("queued", "running", "done", "failed")
    jobs = {f'{{state="{name}"}}': totals.jobs.get(name, 0) for name in states}
    yield from _metric("training_jobs", "gauge", "Training jobs, by state.", jobs)


def _metric(name: str, kind: str, text: str, values: Mapping[str, int]) -> Iterator[str]:
    full = f"parkfleet_{name}" + ("_total" if kind == "counter" else "")
    yield f"# HELP {full} {text}\n# TYPE {full} {kind}\n"
    for labels, value in values.items():
        yield f"{full}{labels} {value}\n"
