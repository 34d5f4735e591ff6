"""What cars have sent: pairs, pictures, manoeuvres, batches, and what was refused."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Response

from fleet_server.api.access import Reader
from fleet_server.api.context import Served
from fleet_server.api.fleet import DeviceId
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.views import BatchView, ManoeuvreView, Page, QuarantineView, SampleView

router = APIRouter(prefix="/api/v1", tags=["data"], responses=documented(401, 403, 422, 503))

Boot = Annotated[
    str, Path(pattern=r"^[0-9]{8}-[0-9a-f]{8}$", max_length=17, examples=["00000001-0a0b0c0d"])
]
Number = Annotated[int, Path(ge=0, le=2**53 - 1)]
OfManoeuvre = Annotated[int | None, Query(ge=0, le=2**53 - 1)]

_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


@router.get("/samples")
def list_samples(
    context: Served,
    _who: Reader,
    *,
    cursor: Cursor = 0,
    limit: Limit = 100,
    device: str | None = None,
    deployment: str | None = None,
    manoeuvre: OfManoeuvre = None,
) -> Page[SampleView]:
    """List stored pairs, each as the car recorded it, without its picture."""
    found = context.queries.samples(
        device=device, deployment=deployment, manoeuvre=manoeuvre, after=cursor, limit=limit
    )
    return page(found, limit)


@router.get(
    "/samples/{device}/{boot}/{sequence}/picture",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **documented(404)},
)
def get_picture(
    device: DeviceId, boot: Boot, sequence: Number, context: Served, _who: Reader
) -> Response:
    """Return the picture of one pair."""
    jpeg = context.queries.picture(device, boot, sequence)
    if jpeg is None:
        raise HTTPException(404, "no picture of this pair is stored")
    return Response(jpeg, media_type="image/jpeg", headers=_FOR_EVER)


@router.get("/manoeuvres")
def list_manoeuvres(
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
    device: str | None = None,
    deployment: str | None = None,
) -> Page[ManoeuvreView]:
    """List the manoeuvres that ended, with the error of the model that steered them."""
    found = context.queries.manoeuvres(
        device=device, deployment=deployment, after=cursor, limit=limit
    )
    return page(found, limit)


@router.get("/batches")
def list_batches(
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
    device: str | None = None,
) -> Page[BatchView]:
    """List the messages in which pairs arrived."""
    return page(context.queries.batches(device=device, after=cursor, limit=limit), limit)


@router.get("/quarantine")
def list_quarantine(
    context: Served, _who: Reader, cursor: Cursor = 0, limit: Limit = 100
) -> Page[QuarantineView]:
    """List the messages that were refused, with the reason."""
    return page(context.queries.quarantine(after=cursor, limit=limit), limit)
