"""What was refused: looked at, and tried again."""

from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Response

from fleet_server import logbook
from fleet_server.api.access import Guarded, Operator, Reader
from fleet_server.api.bodies import Because
from fleet_server.api.context import Context, Served
from fleet_server.api.filters import OfDevice, RowId
from fleet_server.api.links import of_first
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.ingest import replaying
from fleet_server.reading.views import Page, QuarantineView

router = APIRouter(
    prefix="/api/v1",
    tags=["data"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What became of a message that was tried again: stored, duplicate, rejected or unproven."""

    outcome: str
    reason: str
    new_samples: int


@router.get(
    "/quarantine",
    responses=of_first(
        ("get_quarantined", "get_quarantined_body", "replay_quarantined"), number="id"
    ),
)
def list_quarantine(
    context: Served,
    _who: Reader,
    device: OfDevice = None,
    cursor: Cursor = 0,
    limit: Limit = 100,
) -> Page[QuarantineView]:
    """List the messages that were refused, with the reason."""
    found = context.queries.quarantine(device=device, after=cursor, limit=limit)
    return page(found, limit)


@router.get("/quarantine/{number}", responses=documented(404))
def get_quarantined(number: RowId, context: Served, _who: Reader) -> QuarantineView:
    """Return one refused message's entry."""
    return _entry(context, number)


@router.get(
    "/quarantine/{number}/body",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **documented(404)},
)
def get_quarantined_body(number: RowId, context: Served, _who: Operator) -> Response:
    """Return a refused message's bytes as they came, at most as many as a message may have."""
    _entry(context, number)
    body = replaying.body(context.database, number)
    return Response(body, media_type="application/octet-stream")


@router.post("/quarantine/{number}/replay", responses=documented(404))
def replay_quarantined(number: RowId, body: Because, context: Served, who: Operator) -> Replayed:
    """Try a refused message again, as if it came now; it leaves quarantine where it is stored."""
    entry = _entry(context, number)
    with context.database.write() as connection:
        logbook.write(
            connection,
            utc_us=context.clock.utc_us(),
            deployment="",
            kind="replay",
            reason=body.reason,
            actor=who.name,
            evidence={"device": entry.device, "sha256": entry.sha256, "refused": entry.reason},
        )
    reply = replaying.replay(context.database, context.key, context.clock, number)
    return Replayed(outcome=reply.outcome, reason=reply.reason, new_samples=reply.new_samples)


def _entry(context: Context, number: int) -> QuarantineView:
    found = context.queries.quarantine(after=number - 1, limit=1)
    if not found or found[0].id != number:
        raise HTTPException(404, f"no message {number} lies in quarantine")
    return found[0]
