"""What was found out and decided, and where everything comes from."""

from fastapi import APIRouter, HTTPException

from fleet_server.api.access import Reader
from fleet_server.api.context import Served
from fleet_server.api.fleet import DeviceId
from fleet_server.api.models import Digest
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.lineage import DeviceLineage, Lineage, ModelLineage
from fleet_server.views import DecisionView, Page, RolloutView, VerdictView

router = APIRouter(prefix="/api/v1", tags=["insight"], responses=documented(401, 403, 422, 503))


@router.get("/decisions")
def list_decisions(
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
    deployment: str | None = None,
) -> Page[DecisionView]:
    """List the log book: what was changed, by whom, why, and on which numbers."""
    found = context.queries.decisions(deployment=deployment, after=cursor, limit=limit)
    return page(found, limit)


@router.get("/drift")
def list_verdicts(
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
    deployment: str | None = None,
) -> Page[VerdictView]:
    """List what was found out about models in the field."""
    found = context.queries.verdicts(deployment=deployment, after=cursor, limit=limit)
    return page(found, limit)


@router.get("/rollouts")
def list_rollouts(context: Served, _who: Reader) -> Page[RolloutView]:
    """List how far each deployment's latest model has come."""
    return Page(items=context.queries.rollouts(), next_cursor=None)


@router.get("/lineage/model/{sha256}", responses=documented(404))
def get_model_lineage(sha256: Digest, context: Served, _who: Reader) -> ModelLineage:
    """Return a model's job, decision, verdict and data, and the cars that ran it."""
    found = Lineage(context.database).of_model(sha256)
    if found is None:
        raise HTTPException(404, f"no model {sha256} is registered")
    return found


@router.get("/lineage/device/{device}", responses=documented(404))
def get_device_lineage(device: DeviceId, context: Served, _who: Reader) -> DeviceLineage:
    """Return what a car has run, and where what it runs now comes from."""
    found = Lineage(context.database).of_device(device)
    if found is None:
        raise HTTPException(404, f"no car is called {device}")
    return found
