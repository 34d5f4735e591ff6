"""Who may call what: bearer tokens and roles.

Laws:
- viewer < operator < admin; a trainer stands apart and may do what training needs, no more;
- without a valid token every route answers 401, with too small a role 403; only health,
  readiness and what cars call (a code or a key is their right) ask for none;
- who calls is asked before anything of what is sent is read: a stranger's bytes are not parsed, and
  he is not told what is wrong with them.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fleet_server import tokens
from fleet_server.api.context import Served, context_of
from fleet_server.api.requests import bearer_of, note_bearer
from fleet_server.tokens import Bearer, Role

_scheme = HTTPBearer(auto_error=False, description="A token from `parkfleet token create`.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]

READERS: tuple[Role, ...] = ("viewer", "operator", "admin")
OPERATORS: tuple[Role, ...] = ("operator", "admin")
ADMINS: tuple[Role, ...] = ("admin",)
TRAINERS: tuple[Role, ...] = ("trainer",)
READERS_AND_TRAINERS: tuple[Role, ...] = (*READERS, *TRAINERS)


class Allow:
    """Lets a request pass whose token has one of `roles`."""

    def __init__(self, *roles: Role) -> None:
        """Let `roles` pass."""
        self.roles = roles

    def __call__(self, request: Request, context: Served, credentials: Credentials) -> Bearer:
        """Return whom the request's token stands for.

        Raises:
            HTTPException: no valid token (401), or too small a role (403).
        """
        found = bearer_of(request.scope)
        if found is None and credentials is not None:
            with context.database.read() as connection:
                found = tokens.bearer(connection, credentials.credentials)
        if found is None:
            raise HTTPException(
                401,
                "send 'Authorization: Bearer TOKEN'; `parkfleet token create` makes one",
                {"WWW-Authenticate": "Bearer"},
            )
        note_bearer(request.scope, found)
        if found.role not in self.roles:
            needed = " or ".join(self.roles)
            raise HTTPException(403, f"this needs the role {needed}, not {found.role}")
        return found


class Guarded(APIRoute):
    """A route whose `Allow` is asked first: the framework itself reads and parses bodies before."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request to this route."""
        answer = super().get_route_handler()
        found = [each.call for each in self.dependant.dependencies]
        allows = [each for each in found if isinstance(each, Allow)]

        async def guarded(request: Request) -> Response:
            for allow in allows:
                credentials = await _scheme(request)
                await run_sync(allow, request, context_of(request), credentials)
            return await answer(request)

        return guarded


Reader = Annotated[Bearer, Depends(Allow(*READERS))]
Operator = Annotated[Bearer, Depends(Allow(*OPERATORS))]
Admin = Annotated[Bearer, Depends(Allow(*ADMINS))]
Trainer = Annotated[Bearer, Depends(Allow(*TRAINERS))]
ReaderOrTrainer = Annotated[Bearer, Depends(Allow(*READERS_AND_TRAINERS))]
