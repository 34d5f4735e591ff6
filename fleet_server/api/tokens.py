"""Access tokens, for administrators."""

from dataclasses import dataclass

from fastapi import APIRouter, HTTPException
from sqlalchemy import select

from fleet_server import logbook, tokens
from fleet_server.api.access import Admin, Guarded
from fleet_server.api.bodies import Because, NewToken
from fleet_server.api.context import Served
from fleet_server.api.filters import RowId
from fleet_server.api.links import of_made
from fleet_server.api.paging import Cursor, Limit, page
from fleet_server.api.problems import documented
from fleet_server.reading.views import Page
from fleet_server.storage import tables
from fleet_server.storage.pages import page as rows_after
from fleet_server.storage.pages import views

router = APIRouter(
    prefix="/api/v1",
    tags=["tokens"],
    responses=documented(400, 401, 403, 413, 422, 503),
    route_class=Guarded,
)


@dataclass(frozen=True, kw_only=True)
class TokenView:
    """A token, less its secret, of which only the SHA-256 is stored."""

    id: int
    name: str
    role: str
    created_utc_us: int
    revoked_utc_us: int | None


@dataclass(frozen=True, kw_only=True)
class NewSecret:
    """A token's secret; shown this once."""

    id: int
    name: str
    role: str
    token: str


@router.get("/tokens")
def list_tokens(
    context: Served, _who: Admin, cursor: Cursor = 0, limit: Limit = 100
) -> Page[TokenView]:
    """List the tokens, the revoked ones too."""
    columns = [tables.tokens.c[name] for name in TokenView.__dataclass_fields__]
    with context.database.read() as connection:
        rows = rows_after(connection, select(*columns), tables.tokens, cursor, limit)
    return page(views(TokenView, rows), limit)


@router.post("/tokens", status_code=201, responses=of_made(("revoke_token",), number="id"))
def create_token(body: NewToken, context: Served, who: Admin) -> NewSecret:
    """Make a token, and show its secret this once."""
    now = context.clock.utc_us()
    with context.database.write() as connection:
        made = tokens.create(connection, name=body.name, role=body.role, utc_us=now)
        logbook.write(
            connection,
            utc_us=now,
            deployment="",
            kind="create-token",
            reason=body.reason,
            actor=who.name,
            evidence={"token": made.id, "name": body.name, "role": body.role},
        )
    return NewSecret(id=made.id, name=body.name, role=body.role, token=made.secret)


@router.post("/tokens/{number}/revoke", responses=documented(404))
def revoke_token(number: RowId, body: Because, context: Served, who: Admin) -> TokenView:
    """Let a token count no more, from the next request on."""
    now = context.clock.utc_us()
    columns = [tables.tokens.c[name] for name in TokenView.__dataclass_fields__]
    with context.database.write() as connection:
        name = tokens.revoke(connection, number, utc_us=now)
        if name is None:
            raise HTTPException(404, f"no token {number} is in force")
        logbook.write(
            connection,
            utc_us=now,
            deployment="",
            kind="revoke-token",
            reason=body.reason,
            actor=who.name,
            evidence={"token": number, "name": name},
        )
        rows = connection.execute(select(*columns).where(tables.tokens.c.id == number)).all()
    found: TokenView = views(TokenView, rows)[0]
    return found
