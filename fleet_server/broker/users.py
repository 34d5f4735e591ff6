"""Who may speak to the broker: the users file, written by the server and read by the broker.

Laws:
- the file holds SHA-256 digests of random 256-bit secrets, never a secret; such secrets cannot be
  guessed, so a plain digest is enough and a log-in costs a microsecond instead of Argon2's 0.1 s;
- it remembers whom it held once, so that a name taken out of it is taken out of copies too;
- it is replaced whole, by one writer at a time: whoever reads it sees a complete old or new state;
- a name is a car's or a person's, never both: rights belong to names;
- what cars may be ordered by whom is said here too, in the keys of operators, so that whoever is
  removed loses connection and orders together;
- a user's name is also its only client id; the server's processes are users of their own, named
  `server-...`, with the rights and the secret of `server`.

The server's own secret lies beside it in `server.secret`, readable by its owner only.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from shared.credentials import is_verifier
from shared.errors import UsageError
from shared.ids import Name, Sha256, is_device_name, is_name, is_sha256, sha256_hex
from shared.messages import OperatorKey
from shared.samples import Count
from shared.signing import PublicKeyBytes, write_secret

SERVER_USER = "server"
"""The fleet server's own user."""

Role = Literal["device", "server", "operator", "viewer"]

_FOLDER = "broker"
_SECRET_BYTES = 32


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user: what it is, and the SHA-256 of its secret as ASCII text.

    `verifier` is mosquitto's digest of the same secret; cars of older versions show none. By
    `public_key` an operator signs orders of its own, until `until_utc_us`.
    """

    role: Role
    secret_sha256: Sha256
    verifier: str | None = None
    public_key: PublicKeyBytes | None = None
    until_utc_us: Count = 0


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    users: dict[Name, User] = msgspec.field(default_factory=dict)
    removed: tuple[Name, ...] = ()
    keys_revision: Count = 0


@dataclass(frozen=True, kw_only=True)
class Users:
    """Everybody who may connect, by name, and the names of those who might once."""

    known: Mapping[str, User]
    removed: frozenset[str] = frozenset()
    keys_revision: int = 0

    @property
    def operator_keys(self) -> tuple[OperatorKey, ...]:
        """The keys that operators sign with, in the order of their names."""
        return tuple(
            OperatorKey(name=name, public_key=user.public_key, until_utc_us=user.until_utc_us)
            for name, user in sorted(self.known.items())
            if user.role == "operator" and user.public_key is not None
        )


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A user name and its secret (64 hexadecimal digits), which is never shown."""

    user: str
    secret: str = field(repr=False)


def users_path(state_dir: Path) -> Path:
    """Return where the users file of the server state in `state_dir` lies."""
    return state_dir / _FOLDER / "users.json"


def server_secret_path(state_dir: Path) -> Path:
    """Return where the server's own secret lies."""
    return state_dir / _FOLDER / "server.secret"


def read_users(path: Path) -> Mapping[str, User]:
    """Return the users in the file at `path`; a missing file holds none.

    Raises:
        UsageError: the file cannot be read or is not a users file.
    """
    return _read(path).users


def read_all(path: Path) -> Users:
    """Return the users in the file at `path` and those removed; a missing file holds none.

    Raises:
        UsageError: the file cannot be read or is not a users file.
    """
    found = _read(path)
    return Users(
        known=found.users,
        removed=frozenset(found.removed),
        keys_revision=found.keys_revision,
    )


def _read(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return _File()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not a users file: {error}") from None


def server_user(part: str) -> str:
    """Return the user name of the server's process `part`."""
    return f"{SERVER_USER}-{part}"


def is_reserved(name: str) -> bool:
    """Tell whether a user of that name would speak for the server."""
    return name == SERVER_USER or name.startswith(f"{SERVER_USER}-")


def find_user(users: Mapping[str, User], name: str) -> User | None:
    """Return the user called `name`, or None; the server's processes share one entry."""
    return users.get(SERVER_USER if is_reserved(name) else name)


CONTROL = "control"
"""The server's process that decides, and speaks for it in all but receipts."""

CONSOLE = "console"
"""The server's connection that listens to live values for the console's pages."""

INGESTS = 16
"""How many ingest processes one fleet may have; mosquitto knows each by name."""


OPERATORS = 64
"""How many operators cars know at the most."""


def ingest_name(number: int) -> str:
    """Return the name of one ingest process, numbered from 1."""
    return f"ingest-{number}"


SERVER_USERS: tuple[str, ...] = (
    SERVER_USER,
    server_user(CONTROL),
    server_user(CONSOLE),
    *(server_user(ingest_name(number)) for number in range(1, INGESTS + 1)),
)
"""Everybody who speaks for the server."""


def add_user(
    state_dir: Path, name: str, *, role: Role, secret_sha256: str, verifier: str | None = None
) -> None:
    """Let `name` connect with the secret of that digest; replaces an older secret of that name.

    Raises:
        UsageError: the name or digest is malformed, the name is the server's or a person's, or the
            file is broken.
    """
    if is_reserved(name):
        raise UsageError(f"the user name {name!r} belongs to the server")
    if not (is_device_name(name) if role == "device" else is_name(name)):
        raise UsageError(f"{name!r} is no name for a broker user of role {role}")
    if not is_sha256(secret_sha256):
        raise UsageError("a secret's digest is 64 lower-case hexadecimal digits")
    if verifier is not None and not is_verifier(verifier):
        raise UsageError("this is no digest of mosquitto's")
    _enter(state_dir, name, User(role=role, secret_sha256=secret_sha256, verifier=verifier))


def add_person(state_dir: Path, name: str, user: User, *, utc_us: int) -> None:
    """Let a person's console connect as `name`, and cars obey its key where it is an operator's.

    Raises:
        UsageError: the name is malformed, a car's or the server's, there is no room for another
            operator, or the file is broken.
    """
    if is_reserved(name) or not is_name(name):
        raise UsageError(f"{name!r} is no name for a person at the broker")
    _enter(state_dir, name, user, keys_utc_us=utc_us)


def _enter(state_dir: Path, name: str, user: User, *, keys_utc_us: int | None = None) -> None:
    with _locked(state_dir) as path:
        found = _read(path)
        before = found.users.get(name)
        if before == user:
            return
        if before is not None and (before.role == "device") != (user.role == "device"):
            kind = "a car" if before.role == "device" else "a person"
            raise UsageError(f"{kind} is called {name} already: take another name")
        users = {**found.users, name: user}
        if len(Users(known=users).operator_keys) > OPERATORS:
            raise UsageError(f"cars know {OPERATORS} operators at the most: revoke one first")
        removed = tuple(each for each in found.removed if each != name)
        revision = _next_revision(found, keys_utc_us)
        _write(path, _File(users=users, removed=removed, keys_revision=revision))


def _next_revision(found: _File, utc_us: int | None) -> int:
    """Return the revision of the operators' keys; after a restore it is still a later one."""
    if utc_us is None:
        return found.keys_revision
    return max(found.keys_revision + 1, utc_us)


def remove_user(state_dir: Path, name: str, *, keys_utc_us: int | None = None) -> bool:
    """Let `name` connect no more; return whether it could. The broker cuts it off within seconds.

    For an operator, `keys_utc_us` is now: cars are told that its key counts no more.

    Raises:
        UsageError: the file is broken.
    """
    with _locked(state_dir) as path:
        found = _read(path)
        users = dict(found.users)
        known = users.pop(name, None) is not None
        if known:
            removed = tuple(sorted({*found.removed, name}))
            revision = _next_revision(found, keys_utc_us)
            _write(path, _File(users=users, removed=removed, keys_revision=revision))
    return known


def ensure_server_user(state_dir: Path) -> Credentials:
    """Return the server's credentials, which are made where they are missing.

    The secret is written before the users file names its digest: a kill in between leaves a secret
    that the next call enters.

    Raises:
        UsageError: the state folder cannot be used, or one of the two files is broken.
    """
    with _locked(state_dir) as path:
        secret = _server_secret(server_secret_path(state_dir))
        found = _read(path)
        own = User(role="server", secret_sha256=sha256_hex(secret.encode()))
        if found.users.get(SERVER_USER) != own:
            changed = {**found.users, SERVER_USER: own}
            _write(
                path,
                _File(users=changed, removed=found.removed, keys_revision=found.keys_revision),
            )
    return Credentials(user=SERVER_USER, secret=secret)


def is_secret_of(user: User, secret: str) -> bool:
    """Tell, in constant time, whether `secret` is the user's."""
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
    return hmac.compare_digest(digest, user.secret_sha256)


def _server_secret(path: Path) -> str:
    if not path.exists():
        write_secret(path, secrets.token_hex(_SECRET_BYTES).encode())
    try:
        secret = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the server's secret {path}: {error}") from None
    if not is_sha256(secret):
        raise UsageError(
            f"{path} is no secret of 64 hexadecimal digits: delete it to get a new one"
        )
    return secret


def _write(path: Path, file: _File) -> None:
    body = msgspec.json.format(msgspec.json.encode(file, order="sorted"))
    write_secret(path, body + b"\n")


@contextmanager
def _locked(state_dir: Path) -> Iterator[Path]:
    """Hold the one right to write; the lock dies with its process."""
    path = users_path(state_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name("users.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(f"cannot use the state folder {state_dir}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(descriptor)
