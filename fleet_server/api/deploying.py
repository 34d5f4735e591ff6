"""What deployments run and whether they are in use, decided by operators."""

from fastapi import APIRouter, HTTPException

from fleet_server.api.access import Guarded, Operator, Reader
from fleet_server.api.bodies import DeploymentStatus, Pin, RolloutOrder
from fleet_server.api.context import Served
from fleet_server.api.filters import DeploymentName
from fleet_server.api.fleet import get_deployment
from fleet_server.api.problems import documented
from fleet_server.reading.views import DeploymentView
from fleet_server.rollout import deploying, ruling
from fleet_server.rollout.ruling import RolloutView

router = APIRouter(
    prefix="/api/v1",
    tags=["fleet"],
    responses=documented(400, 401, 403, 404, 413, 422, 503),
    route_class=Guarded,
)


@router.put("/deployments/{name}/version")
def pin_deployment(
    name: DeploymentName, body: Pin, context: Served, who: Operator
) -> DeploymentView:
    """Let a deployment's cars run one version, or `latest` again."""
    get_deployment(name, context, who)
    with context.database.write() as connection:
        deploying.pin(
            connection,
            name=name,
            version=body.version,
            actor=who.name,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return get_deployment(name, context, who)


@router.put("/deployments/{name}/status")
def set_deployment_status(
    name: DeploymentName, body: DeploymentStatus, context: Served, who: Operator
) -> DeploymentView:
    """Retire a deployment that has no cars, or take it up again."""
    get_deployment(name, context, who)
    with context.database.write() as connection:
        deploying.set_status(
            connection,
            name=name,
            status=body.status,
            actor=who.name,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return get_deployment(name, context, who)


@router.get("/deployments/{name}/rollout")
def get_deployment_rollout(name: DeploymentName, context: Served, who: Reader) -> RolloutView:
    """Return where the deployment's newest rollout stands, under way or over."""
    get_deployment(name, context, who)
    with context.database.read() as connection:
        found = ruling.last(connection, name)
    if found is None:
        raise HTTPException(404, f"nothing was rolled out in {name} yet")
    return found


@router.put("/deployments/{name}/rollout")
def order_deployment_rollout(
    name: DeploymentName, body: RolloutOrder, context: Served, who: Operator
) -> RolloutView:
    """Pause, resume, abort or promote what is under way."""
    get_deployment(name, context, who)
    with context.database.write() as connection:
        ruling.order(
            connection,
            deployment=name,
            state=body.state,
            actor=who.name,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return get_deployment_rollout(name, context, who)
