"""What cars have sent: pairs, pictures, manoeuvres and batches; and what people wrote to them."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Response

from fleet_server.api.access import Guarded, Operator, Reader
from fleet_server.api.bodies import NewAnnotation
from fleet_server.api.context import Served
from fleet_server.api.filters import (
    Boot,
    DeviceId,
    Digest,
    LabelBound,
    Number,
    OfDeployment,
    OfDevice,
    OfManoeuvre,
    Since,
    Until,
)
from fleet_server.api.links import of_first
from fleet_server.api.paging import Cursor, Limit, page, page_until
from fleet_server.api.problems import documented
from fleet_server.reading import annotations, searches
from fleet_server.reading.annotations import AnnotationView
from fleet_server.reading.views import BatchView, ManoeuvreView, Page, SampleView
from fleet_server.storage.tables import batches, manoeuvres
from shared.ids import SampleKey, sha256_hex

router = APIRouter(
    prefix="/api/v1",
    tags=["data"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)

ASK_FIRST = "private, no-cache"
"""A picture may be kept, and is asked for before it is shown: it may be erased meanwhile."""


@router.get(
    "/samples",
    responses=of_first(
        (
            "get_sample",
            "get_picture",
            "list_annotations",
            "annotate",
            "get_sample_lineage",
        ),
        device="device",
        boot="boot",
        sequence="sequence",
    ),
)
def list_samples(
    context: Served,
    _who: Reader,
    *,
    cursor: Cursor = 0,
    limit: Limit = 100,
    device: OfDevice = None,
    deployment: OfDeployment = None,
    manoeuvre: OfManoeuvre = None,
    label_from: LabelBound = None,
    label_to: LabelBound = None,
    labelled: Annotated[bool | None, Query(description="With a label, or without.")] = None,
    since_utc_us: Since = None,
    until_utc_us: Until = None,
) -> Page[SampleView]:
    """List stored pairs, each as the car recorded it, without its picture.

    Where few pairs match, a page may be short or empty and still have a `next_cursor`.
    """
    found = searches.find(
        context.database,
        searches.Wanted(
            device=device,
            deployment=deployment,
            manoeuvre=manoeuvre,
            label_from=label_from,
            label_to=label_to,
            labelled=labelled,
            since_utc_us=since_utc_us,
            until_utc_us=until_utc_us,
        ),
        after=cursor,
        limit=limit,
    )
    following = None if found.next_after is None else str(found.next_after)
    return Page(items=found.items, next_cursor=following)


@router.get("/samples/{device}/{boot}/{sequence}", responses=documented(404))
def get_sample(
    device: DeviceId, boot: Boot, sequence: Number, context: Served, _who: Reader
) -> SampleView:
    """Return one pair."""
    found = searches.one(context.database, SampleKey(device, boot, sequence))
    if found is None:
        raise HTTPException(404, "no such pair is stored")
    return found


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
    headers = {"Cache-Control": ASK_FIRST, "ETag": f'"{sha256_hex(jpeg)}"'}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.get("/samples/{device}/{boot}/{sequence}/annotations", responses=documented(404))
def list_annotations(
    *,
    device: DeviceId,
    boot: Boot,
    sequence: Number,
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[AnnotationView]:
    """List what people wrote to a pair."""
    get_sample(device, boot, sequence, context, _who)
    key = SampleKey(device, boot, sequence)
    return page(annotations.listed(context.database, key, after=cursor, limit=limit), limit)


@router.post(
    "/samples/{device}/{boot}/{sequence}/annotations",
    status_code=201,
    responses=documented(404),
)
def annotate(
    *,
    device: DeviceId,
    boot: Boot,
    sequence: Number,
    body: NewAnnotation,
    context: Served,
    who: Operator,
) -> AnnotationView:
    """Write something to a pair; it stays beside the record, which is never changed."""
    get_sample(device, boot, sequence, context, who)
    return annotations.write(
        context.database,
        SampleKey(device, boot, sequence),
        author=who.name,
        kind=body.kind,
        text=body.text,
        label=body.label,
        utc_us=context.clock.utc_us(),
    )


@router.get("/manoeuvres")
def list_manoeuvres(
    context: Served,
    _who: Reader,
    *,
    cursor: Cursor = 0,
    limit: Limit = 100,
    device: OfDevice = None,
    deployment: OfDeployment = None,
    since_utc_us: Since = None,
    until_utc_us: Until = None,
) -> Page[ManoeuvreView]:
    """List the manoeuvres that ended, with the error of the model that steered them."""
    after = searches.begin(context.database, manoeuvres, since_utc_us, cursor)
    found = context.queries.manoeuvres(
        device=device, deployment=deployment, after=after, limit=limit
    )
    return page_until(found, limit, until_utc_us)


@router.get("/batches", responses=of_first(("get_batch", "get_batch_lineage"), sha256="sha256"))
def list_batches(
    context: Served,
    _who: Reader,
    *,
    cursor: Cursor = 0,
    limit: Limit = 100,
    device: OfDevice = None,
    since_utc_us: Since = None,
    until_utc_us: Until = None,
) -> Page[BatchView]:
    """List the messages in which pairs arrived."""
    after = searches.begin(context.database, batches, since_utc_us, cursor)
    found = context.queries.batches(device=device, after=after, limit=limit)
    return page_until(found, limit, until_utc_us)


@router.get("/batches/{sha256}", responses=documented(404))
def get_batch(sha256: Digest, context: Served, _who: Reader) -> BatchView:
    """Return one message's entry."""
    found = searches.batch(context.database, sha256)
    if found is None:
        raise HTTPException(404, f"no batch {sha256} is stored")
    return found
