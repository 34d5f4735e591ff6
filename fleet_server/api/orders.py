"""What operators have done: orders to cars, and erasures."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Response
from pydantic import Field

from fleet_server.api.access import Admin, Guarded, Operator, Reader
from fleet_server.api.bodies import Body, DeviceText, NewErasure, PlainText, ReasonText
from fleet_server.api.context import Served
from fleet_server.api.filters import OfDevice, RowId
from fleet_server.api.links import of_first, of_made
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.api.streams import DOCUMENTED, respond
from fleet_server.cars import commanding
from fleet_server.cars.commanding import CommandView, Verb
from fleet_server.erasure import erasure
from fleet_server.erasure.erasure import Erasure, Request
from fleet_server.reading.views import Page

router = APIRouter(
    prefix="/api/v1",
    tags=["orders"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)

Arguments = Annotated[
    dict[Annotated[str, Field(max_length=64)], PlainText],
    Field(max_length=64, examples=[{"boot": "00000001-0a0b0c0d", "sequences": "1-5"}]),
]


class NewCommand(Body):
    """An order to one car, and why; the protocol's page says which arguments a verb takes."""

    device: DeviceText
    verb: Verb
    arguments: Arguments = Field(default_factory=dict)
    reason: ReasonText


@router.get("/commands", responses=of_first(("get_command",), number="id"))
def list_commands(
    context: Served,
    _who: Reader,
    *,
    cursor: Cursor = 0,
    limit: Limit = 100,
    device: OfDevice = None,
) -> Page[CommandView]:
    """List the orders to cars and what became of them."""
    with context.database.read() as connection:
        found = commanding.listed(connection, device=device, after=cursor, limit=limit)
    return page(found, limit)


@router.post("/commands", status_code=201, responses=of_made(("get_command",), number="id"))
def create_command(body: NewCommand, context: Served, who: Operator) -> CommandView:
    """Give an order to a car; ask for it again to see the car's answer."""
    with context.database.write() as connection:
        number = commanding.order(
            connection,
            device=body.device,
            actor=who.name,
            verb=body.verb,
            arguments=body.arguments,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return get_command(number, context, who)


@router.get("/commands/{number}", responses=documented(404))
def get_command(number: RowId, context: Served, _who: Reader) -> CommandView:
    """Return one order and what became of it."""
    with context.database.read() as connection:
        found = commanding.find(connection, number)
    if found is None:
        raise HTTPException(404, f"there is no command {number}")
    return found


@router.get("/erasures", responses=of_first(("get_erasure", "follow_erasure"), number="id"))
def list_erasures(
    context: Served, _who: Reader, cursor: Cursor = 0, limit: Limit = 100
) -> Page[Erasure]:
    """List the erasures, how far they are, and the models that had learned from what is gone."""
    return page(erasure.listed(context.database, after=cursor, limit=limit), limit)


@router.post(
    "/erasures", status_code=202, responses=of_made(("get_erasure",), status=202, number="id")
)
def create_erasure(body: NewErasure, context: Served, who: Admin) -> Erasure:
    """Have pairs and pictures deleted for good; its events tell how far it is."""
    number = erasure.begin(
        context.database,
        Request(
            actor=who.name,
            reason=body.reason,
            device=body.device,
            since_utc_us=body.since_utc_us,
            until_utc_us=body.until_utc_us,
        ),
        context.clock,
    )
    return get_erasure(number, context, who)


@router.get("/erasures/{number}", responses=documented(404))
def get_erasure(number: RowId, context: Served, _who: Reader) -> Erasure:
    """Return one erasure."""
    found = erasure.find(context.database, number)
    if found is None:
        raise HTTPException(404, f"there is no erasure {number}")
    return found


@router.get(
    "/erasures/{number}/events",
    response_class=Response,
    responses={**DOCUMENTED, **documented(404)},
)
def follow_erasure(number: RowId, context: Served, who: Reader) -> Response:
    """Follow an erasure: an event for each change, until it has finished."""
    get_erasure(number, context, who)
    return respond(
        context,
        lambda: get_erasure(number, context, who),
        lambda found: found.finished_utc_us is not None,
    )
