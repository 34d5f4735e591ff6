"""Who may call what: bearer tokens and roles.

Laws:
- viewer < operator < admin; a trainer stands apart and may do what training needs, no more;
- without a valid token every route answers 401, with too small a role 403; only health,
  readiness and what cars call (a code or a key is their right) ask for none.
"""

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fleet_server import tokens
from fleet_server.api.context import Served
from fleet_server.api.requests import note_bearer
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
        found = None
        if credentials is not None:
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


Reader = Annotated[Bearer, Depends(Allow(*READERS))]
Operator = Annotated[Bearer, Depends(Allow(*OPERATORS))]
Admin = Annotated[Bearer, Depends(Allow(*ADMINS))]
Trainer = Annotated[Bearer, Depends(Allow(*TRAINERS))]
ReaderOrTrainer = Annotated[Bearer, Depends(Allow(*READERS_AND_TRAINERS))]
