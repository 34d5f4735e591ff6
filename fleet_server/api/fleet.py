"""Cars, deployments and enrolment, for operators."""

from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Response
from sqlalchemy import select

from fleet_server import logbook
from fleet_server.api.access import Guarded, Operator, Reader
from fleet_server.api.bodies import (
    Move,
    NewDeployment,
    NewEnrolment,
    NewTask,
)
from fleet_server.api.context import Context, Served
from fleet_server.api.filters import DeploymentName, DeviceId, OfDeployment, OfGroup
from fleet_server.api.links import of_first, of_made
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.api.streams import DOCUMENTED, respond
from fleet_server.cars import groups, membership
from fleet_server.reading.views import DeploymentView, DeviceView, Page
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.pages import page as rows_after
from fleet_server.storage.pages import views
from fleet_server.storage.tables import enrolments
from fleet_server.training import clearing
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.task import WALL_DISTANCE, Task

router = APIRouter(
    prefix="/api/v1",
    tags=["fleet"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)

TASKS: dict[str, Task] = {WALL_DISTANCE.name: WALL_DISTANCE}


@dataclass(frozen=True, kw_only=True)
class EnrolmentCode:
    """A one-time code for `device`; shown this once."""

    device: str
    deployment: str
    code: str
    expires_utc_us: int


@dataclass(frozen=True, kw_only=True)
class EnrolmentView:
    """A one-time code, of which only the SHA-256 is stored; `used_utc_us` is None until its use."""

    id: int
    device: str
    deployment: str
    created_utc_us: int
    expires_utc_us: int
    used_utc_us: int | None


@router.get(
    "/devices",
    responses=of_first(("get_device", "follow_device", "get_device_lineage"), device="device"),
)
def list_devices(
    context: Served,
    _who: Reader,
    cursor: Cursor = 0,
    limit: Limit = 100,
    *,
    deployment: OfDeployment = None,
    label: OfGroup = (),
) -> Page[DeviceView]:
    """List the cars: all, those of a deployment, those with all the labels asked for."""
    found = context.queries.devices(
        deployment=deployment, labels=groups.parse(label), after=cursor, limit=limit
    )
    return page(found, limit)


@router.get("/devices/{device}", responses=documented(404))
def get_device(device: DeviceId, context: Served, _who: Reader) -> DeviceView:
    """Return one car."""
    found = context.queries.device(device)
    if found is None:
        raise HTTPException(404, f"no car is called {device}")
    return found


@router.get(
    "/devices/{device}/events",
    response_class=Response,
    responses={**DOCUMENTED, **documented(404)},
)
def follow_device(device: DeviceId, context: Served, who: Reader) -> Response:
    """Follow a car: an event for each change of what is wanted of it or what it reports."""
    get_device(device, context, who)
    return respond(context, lambda: get_device(device, context, who), lambda _: False)


@router.post("/devices/{device}/deployment", responses=documented(404))
def move_device(device: DeviceId, body: Move, context: Served, who: Operator) -> DeviceView:
    """Put a car into another deployment; it follows that one's latest model from then on.

    Both are of one task. Verdicts about it in the former one are over; labels that they made
    untrusted stay so.
    """
    get_device(device, context, who)
    with context.database.write() as connection:
        now = context.clock.utc_us()
        former = logbook.deployment_of(connection, device)
        membership.move(connection, device, body.deployment)
        if former != body.deployment:
            because = f"{device} was moved to {body.deployment}"
            clearing.clear(connection, because, verdicts.c.device == device, utc_us=now)
        decision = logbook.write(
            connection,
            utc_us=now,
            deployment=body.deployment,
            kind="move",
            reason=body.reason,
            actor=who.name,
            evidence={"device": device},
        )
        logbook.set_desired(
            connection, device, deployment=body.deployment, decision=decision, utc_us=now
        )
    return get_device(device, context, who)


@router.get("/deployments", responses=of_first(("get_deployment",), name="name"))
def list_deployments(
    context: Served, _who: Reader, cursor: Cursor = 0, limit: Limit = 100
) -> Page[DeploymentView]:
    """List the deployments."""
    return page(context.queries.deployments(after=cursor, limit=limit), limit)


@router.get("/deployments/{name}", responses=documented(404))
def get_deployment(name: DeploymentName, context: Served, _who: Reader) -> DeploymentView:
    """Return one deployment."""
    return _deployment(context, name)


@router.post(
    "/deployments",
    status_code=201,
    responses={**of_made(("get_deployment",), name="name"), **documented(409)},
)
def create_deployment(body: NewDeployment, context: Served, who: Operator) -> DeploymentView:
    """Add a deployment."""
    task = _task(body.task)
    if context.queries.deployments(name=body.name):
        raise HTTPException(409, f"there is a deployment {body.name} already")
    with context.database.write() as connection:
        membership.create_deployment(
            connection,
            name=body.name,
            task=task,
            actor=who.name,
            reason=body.reason,
            utc_us=context.clock.utc_us(),
        )
    return _deployment(context, body.name)


def _task(wanted: str | NewTask) -> Task:
    if isinstance(wanted, NewTask):
        if wanted.low >= wanted.high:
            raise RefusedError(f"task {wanted.name}: low must lie below high")
        return Task(**wanted.model_dump())
    if wanted not in TASKS:
        raise RefusedError(
            f"unknown task {wanted}; there are: {', '.join(TASKS)}; another one is given whole"
        )
    return TASKS[wanted]


@router.get("/enrolments")
def list_enrolments(
    context: Served, _who: Reader, cursor: Cursor = 0, limit: Limit = 100
) -> Page[EnrolmentView]:
    """List the codes that were made, less their secrets, and which of them was used."""
    columns = [enrolments.c[name] for name in EnrolmentView.__dataclass_fields__]
    with context.database.read() as connection:
        rows = rows_after(connection, select(*columns), enrolments, cursor, limit)
    return page(views(EnrolmentView, rows), limit)


@router.post("/enrolments", status_code=201)
def create_enrolment(body: NewEnrolment, context: Served, who: Operator) -> EnrolmentCode:
    """Make a one-time code with which a car enrols within a quarter of an hour."""
    root_sha256 = sha256_hex(context.repository.root())
    with context.database.write() as connection:
        code, expires_utc_us = membership.create_code(
            connection,
            device=body.device,
            deployment=body.deployment,
            server_key_id=context.key.public.key_id,
            root_sha256=root_sha256,
            utc_us=context.clock.utc_us(),
            valid_us=round(context.settings.enrolment_code_s * 1e6),
        )
        logbook.write(
            connection,
            utc_us=context.clock.utc_us(),
            deployment=body.deployment,
            kind="enrolment-code",
            reason=body.reason,
            actor=who.name,
            evidence={"device": body.device},
        )
    return EnrolmentCode(
        device=body.device,
        deployment=body.deployment,
        code=code,
        expires_utc_us=expires_utc_us,
    )


def _deployment(context: Context, name: str) -> DeploymentView:
    found = context.queries.deployments(name=name)
    if not found:
        raise HTTPException(404, f"no deployment is called {name}")
    return found[0]
