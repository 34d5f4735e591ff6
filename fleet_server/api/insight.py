"""What was found out and decided, and how far it has come."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from fleet_server import logbook
from fleet_server.api.access import Guarded, Operator, Reader
from fleet_server.api.bodies import Note, Why
from fleet_server.api.context import Context, Served
from fleet_server.api.filters import OfDeployment, RowId
from fleet_server.api.links import of_first, of_made
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.reading.views import DecisionView, Page, RolloutView, VerdictView
from fleet_server.storage import trust
from fleet_server.training.retraining import Word
from shared.errors import RefusedError

router = APIRouter(
    prefix="/api/v1",
    tags=["insight"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)


@router.get("/decisions", responses=of_first(("get_decision", "get_decision_lineage"), number="id"))
def list_decisions(
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
    *,
    deployment: OfDeployment = None,
) -> Page[DecisionView]:
    """List the log book: what was changed, by whom, why, and on which numbers."""
    found = context.queries.decisions(deployment=deployment, after=cursor, limit=limit)
    return page(found, limit)


@router.post(
    "/decisions",
    status_code=201,
    responses=of_made(("get_decision", "get_decision_lineage"), number="id"),
)
def write_decision(body: Note, context: Served, who: Operator) -> DecisionView:
    """Write into the log book what you changed elsewhere, or what you found out, and why."""
    if body.deployment is not None and not context.queries.deployments(name=body.deployment):
        raise RefusedError(f"there is no deployment {body.deployment}")
    with context.database.write() as connection:
        number = logbook.write(
            connection,
            utc_us=context.clock.utc_us(),
            deployment=body.deployment or "",
            kind="note",
            reason=body.reason,
            actor=who.name,
            model=body.model,
        )
    return _decision(context, number)


@router.get("/decisions/{number}", responses=documented(404))
def get_decision(number: RowId, context: Served, _who: Reader) -> DecisionView:
    """Return one entry of the log book."""
    return _decision(context, number)


@router.get(
    "/drift",
    responses=of_first(("get_verdict", "approve_verdict", "veto_verdict"), number="id"),
)
def list_verdicts(
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
    *,
    deployment: OfDeployment = None,
    only_open: Annotated[bool, Query(description="Only those that are not cleared.")] = False,
) -> Page[VerdictView]:
    """List what was found out about models in the field, with the evidence."""
    found = context.queries.verdicts(
        deployment=deployment, only_open=only_open, after=cursor, limit=limit
    )
    return page(found, limit)


@router.get("/drift/{number}", responses=documented(404))
def get_verdict(number: RowId, context: Served, _who: Reader) -> VerdictView:
    """Return one verdict with its evidence."""
    return _verdict(context, number)


@router.post(
    "/drift/{number}/approve",
    status_code=201,
    responses={**of_made(("get_decision",), number="id"), **documented(404)},
)
def approve_verdict(number: RowId, body: Why, context: Served, who: Operator) -> DecisionView:
    """Have the model trained anew for a verdict, once there is data: say why.

    Of a suspected sensor it says that you have checked it and that its labels are right.
    """
    return _say(context, number, "approve", body.reason, who.name)


@router.post(
    "/drift/{number}/veto",
    status_code=201,
    responses={**of_made(("get_decision",), number="id"), **documented(404)},
)
def veto_verdict(number: RowId, body: Why, context: Served, who: Operator) -> DecisionView:
    """Have nothing done about a verdict: say why."""
    return _say(context, number, "veto", body.reason, who.name)


@router.get("/rollouts")
def list_rollouts(context: Served, _who: Reader) -> Page[RolloutView]:
    """List how far each deployment's latest model has come."""
    return Page(items=context.queries.rollouts(), next_cursor=None)


def _say(context: Context, number: int, word: Word, reason: str, actor: str) -> DecisionView:
    verdict = _verdict(context, number)
    with context.database.write() as connection:
        written = logbook.write(
            connection,
            utc_us=context.clock.utc_us(),
            deployment=verdict.deployment,
            kind=word,
            reason=reason,
            actor=actor,
            verdict=number,
            model=verdict.model,
        )
        if word == "approve":
            trust.lift(connection, number)
    return _decision(context, written)


def _verdict(context: Context, number: int) -> VerdictView:
    found = context.queries.verdicts(after=number - 1, limit=1)
    if not found or found[0].id != number:
        raise HTTPException(404, f"there is no verdict {number}")
    return found[0]


def _decision(context: Context, number: int) -> DecisionView:
    found = context.queries.decisions(after=number - 1, limit=1)
    if not found or found[0].id != number:
        raise HTTPException(404, f"the log book has no entry {number}")
    return found[0]
