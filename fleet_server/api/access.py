"""Who may call what: bearer tokens and roles.

Laws:
- viewer < operator < admin; a trainer stands apart and may do what training needs, no more;
- without a valid token every route answers 401, with too small a role 403; only health, readiness,
  metrics and the claim of an enrolment code ask for none.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fleet_server import tokens
from fleet_server.api.context import Served
from fleet_server.tokens import Bearer, Role

_scheme = HTTPBearer(auto_error=False, description="A token from `parkfleet token create`.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]

READERS: tuple[Role, ...] = ("viewer", "operator", "admin")
OPERATORS: tuple[Role, ...] = ("operator", "admin")
TRAINERS: tuple[Role, ...] = ("trainer",)
READERS_AND_TRAINERS: tuple[Role, ...] = (*READERS, *TRAINERS)


def _allow(*roles: Role) -> Callable[..., Bearer]:
    def check(context: Served, credentials: Credentials) -> Bearer:
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
        if found.role not in roles:
            raise HTTPException(403, f"this needs the role {' or '.join(roles)}, not {found.role}")
        return found

    return check


Reader = Annotated[Bearer, Depends(_allow(*READERS))]
Operator = Annotated[Bearer, Depends(_allow(*OPERATORS))]
Trainer = Annotated[Bearer, Depends(_allow(*TRAINERS))]
ReaderOrTrainer = Annotated[Bearer, Depends(_allow(*READERS_AND_TRAINERS))]
