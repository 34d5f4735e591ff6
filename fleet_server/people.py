"""People's own consoles at the broker: who may watch, who may order, until when, and no more.

Laws:
- a person is known to the broker, to the cars and to the log book together or not at all: the users
  file is changed inside the log book's transaction, as for cars;
- the server learns a public key and digests, never a secret;
- a fingerprint is entered with each, so that two people can compare what they hold.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from fleet_server import logbook, settings
from fleet_server.broker import users
from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Database
from fleet_server.storage.opening import FILE, open_database
from fleet_server.terminal.papers import Grant, Request, Role
from shared.clock import Clock, SystemClock
from shared.errors import UsageError
from shared.signing import VerifyKey

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Person:
    """One console's user at the broker."""

    name: str
    role: str
    fingerprint: str
    until_utc_us: int


ACTOR = "command-line"
"""Who the log book says did it, where somebody did it on the server's machine."""

_REASON_LENGTH = 200
_LEFT_BY_A_SERVER = (FILE, "server.toml", "keys/server.key")


@contextmanager
def opened(state: Path) -> Iterator[tuple[Database, Clock]]:
    """Open the database of the server whose state folder is `state`, for one command.

    Raises:
        UsageError: no server keeps its state there, or its settings or database cannot be used.
    """
    require_server(state)
    clock = SystemClock()
    database = open_database(state, settings.load(state, {}), clock)
    try:
        yield database, clock
    finally:
        database.close()


def require_server(state: Path) -> None:
    """Return quietly where a server keeps its state in the folder `state`.

    Raises:
        UsageError: none does, so that nothing is to be made there by mistake.
    """
    if not any((state / name).exists() for name in _LEFT_BY_A_SERVER):
        raise UsageError(f"no server keeps its state in {state}: start it once, or mend --state")


def checked_reason(text: str) -> str:
    """Return a reason for the log book.

    Raises:
        UsageError: it is no line of 3 to 200 characters.
    """
    if not 3 <= len(text.strip()) <= _REASON_LENGTH or not text.isprintable():
        raise UsageError(f"--reason: one line of 3 to {_REASON_LENGTH} characters")
    return text.strip()


def admit(
    connection: Connection,
    state: Path,
    request: Request,
    *,
    role: Role,
    reason: str,
    actor: str,
    utc_us: int,
    until_utc_us: int,
) -> Person:
    """Let the console that made `request` connect, and order where `role` says so.

    The same person again, with other keys or another role, takes the place of before.

    Raises:
        UsageError: the name is a car's or the server's, there are too many operators, or the users
            file is broken.
    """
    key = VerifyKey(request.public_key)
    user = users.User(
        role=role,
        secret_sha256=request.mqtt_secret_sha256,
        verifier=request.mqtt_verifier,
        public_key=request.public_key,
        until_utc_us=until_utc_us,
    )
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment="",
        kind="admit-console",
        reason=reason,
        actor=actor,
        evidence={"name": request.name, "role": role, "fingerprint": key.fingerprint},
    )
    users.add_person(state, request.name, user, utc_us=utc_us)
    logger.info("console_admitted name=%s role=%s", request.name, role)
    return _person(request.name, user)


def revoke(
    connection: Connection, state: Path, *, name: str, reason: str, actor: str, utc_us: int
) -> None:
    """End a person's rights: the broker cuts the console off, cars are told within a second.

    Raises:
        UsageError: nobody of that name has a console, or the users file is broken.
    """
    if name not in {each.name for each in listed(state)}:
        raise UsageError(f"nobody called {name!r} has a console: see `parkfleet console people`")
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment="",
        kind="revoke-console",
        reason=reason,
        actor=actor,
        evidence={"name": name},
    )
    users.remove_user(state, name, keys_utc_us=utc_us)
    logger.warning("console_revoked name=%s", name)


def listed(state: Path) -> tuple[Person, ...]:
    """Return everybody who has a console, by name.

    Raises:
        UsageError: the users file is broken.
    """
    known = users.read_users(users.users_path(state))
    return tuple(
        _person(name, user)
        for name, user in sorted(known.items())
        if user.role in ("viewer", "operator")
    )


def grant_of(
    person: Person, request: Request, role: Role, chosen: ServerSettings, server: VerifyKey
) -> Grant:
    """Return what the console is told.

    Raises:
        UsageError: the broker's certificate authority cannot be read.
    """
    return Grant(
        name=person.name,
        role=role,
        public_key=request.public_key,
        until_utc_us=person.until_utc_us,
        server_public_key=server.raw,
        broker_host=chosen.advertised_broker_host or chosen.broker_host,
        broker_port=chosen.advertised_broker_port or chosen.broker_port,
        broker_ca_pem=_read_ca(chosen.broker_ca_file),
    )


def _read_ca(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return Path(name).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read broker_ca_file {name}: {error}") from None


def _person(name: str, user: users.User) -> Person:
    key = None if user.public_key is None else VerifyKey(user.public_key)
    return Person(
        name=name,
        role=user.role,
        fingerprint=key.fingerprint if key else "",
        until_utc_us=user.until_utc_us,
    )
