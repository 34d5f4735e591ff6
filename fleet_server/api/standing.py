"""Who takes part and in which group: cars confirmed, revoked and labelled by operators."""

from fastapi import APIRouter

from fleet_server.api.access import Guarded, Operator
from fleet_server.api.bodies import Because, Confirmation, Labels
from fleet_server.api.context import Served
from fleet_server.api.filters import DeviceId
from fleet_server.api.fleet import get_device
from fleet_server.api.problems import documented
from fleet_server.cars import groups, standing
from fleet_server.reading.views import DeviceView

router = APIRouter(
    prefix="/api/v1",
    tags=["fleet"],
    responses=documented(400, 401, 403, 404, 413, 422, 503),
    route_class=Guarded,
)


@router.post("/devices/{device}/confirm")
def confirm_device(
    device: DeviceId, body: Confirmation, context: Served, who: Operator
) -> DeviceView:
    """Let a car take part, whose fingerprint was compared with the one that it shows itself."""
    get_device(device, context, who)
    with context.database.write() as connection:
        standing.confirm(
            connection,
            device=device,
            fingerprint=body.fingerprint,
            actor=who.name,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return get_device(device, context, who)


@router.post("/devices/{device}/revoke")
def revoke_device(device: DeviceId, body: Because, context: Served, who: Operator) -> DeviceView:
    """End a car's rights: it is cut off, and nothing it sends is stored, until it joins anew."""
    get_device(device, context, who)
    with context.database.write() as connection:
        standing.revoke(
            connection,
            context.state,
            device=device,
            actor=who.name,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return get_device(device, context, who)


@router.put("/devices/{device}/labels")
def label_device(device: DeviceId, body: Labels, context: Served, who: Operator) -> DeviceView:
    """Let a car have these labels and no others."""
    get_device(device, context, who)
    with context.database.write() as connection:
        groups.set_labels(
            connection,
            device=device,
            labels=body.labels,
            actor=who.name,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return get_device(device, context, who)
