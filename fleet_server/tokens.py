"""Access tokens: who may call REST, and as what.

Laws:
- a token is 256 random bits, shown once; only its SHA-256 is stored;
- viewer < operator < admin; a trainer stands apart;
- a revoked token is kept, so that the log book's actors can be looked up, and counts no more.
"""

import secrets
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, insert, select, update

from fleet_server.storage.tables import tokens
from shared.errors import RefusedError
from shared.ids import is_name, sha256_hex

Role = Literal["viewer", "operator", "admin", "trainer"]

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin", "trainer")


@dataclass(frozen=True, kw_only=True)
class Bearer:
    """Whom a token stands for."""

    name: str
    role: Role


@dataclass(frozen=True, kw_only=True)
class Known:
    """A token in force: its row's id, by which it is looked up again, and whom it stands for."""

    id: int
    bearer: Bearer


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A new token: its row's id, and the secret, which is shown this once."""

    id: int
    secret: str


def create(connection: Connection, *, name: str, role: Role, utc_us: int) -> Issued:
    """Make a token.

    Raises:
        RefusedError: `name` is no name.
    """
    if not is_name(name):
        raise RefusedError(f"{name!r} is no name: letters, digits, dots, hyphens")
    secret = f"pf_{secrets.token_urlsafe(32)}"
    number = connection.execute(
        insert(tokens)
        .values(name=name, role=role, sha256=_digest(secret), created_utc_us=utc_us)
        .returning(tokens.c.id)
    ).scalar_one()
    return Issued(id=int(number), secret=secret)


def bearer(connection: Connection, secret: str) -> Bearer | None:
    """Return whom a token stands for, or None where it is unknown or revoked."""
    found = known(connection, secret)
    return None if found is None else found.bearer


def known(connection: Connection, secret: str) -> Known | None:
    """Return a token and whom it stands for, or None where it is unknown or revoked."""
    query = select(tokens).filter_by(sha256=_digest(secret), revoked_utc_us=None)
    row = connection.execute(query).one_or_none()
    return None if row is None else Known(id=row.id, bearer=Bearer(name=row.name, role=row.role))


def in_force(connection: Connection, number: int) -> Bearer | None:
    """Return whom the token of that id stands for, or None where it is revoked."""
    query = select(tokens).filter_by(id=number, revoked_utc_us=None)
    row = connection.execute(query).one_or_none()
    return None if row is None else Bearer(name=row.name, role=row.role)


def revoke(connection: Connection, number: int, *, utc_us: int) -> str | None:
    """Let a token count no more; return whose it was, or None where none of that id is in force."""
    changed: str | None = connection.scalar(
        update(tokens)
        .where(tokens.c.id == number, tokens.c.revoked_utc_us.is_(None))
        .values(revoked_utc_us=utc_us)
        .returning(tokens.c.name)
    )
    return changed


def _digest(secret: str) -> str:
    return sha256_hex(secret.encode("utf-8", "replace"))
