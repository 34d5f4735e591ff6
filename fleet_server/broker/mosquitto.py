"""Writes a mosquitto configuration that holds the same laws as the embedded broker.

Laws:
- rights come from the topic table, line by line; nothing is granted that the table does not name;
- a client id is always replaced by its user's name, so that nobody takes over another's queue;
- mosquitto keeps its own kind of digest, which cannot be made from ours: only the server's password
  is entered here. Cars either present certificates (`tls`) or are entered with `mosquitto_passwd`.

Mosquitto's defaults lose messages: of 3000 acknowledged ones 1000 were delivered (queue limit).
Ours bound the queue by bytes, and what is lost beyond them stays in the cars' journals.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet_server.broker.users import SERVER_USER, Credentials, User
from shared import topics
from shared.errors import UsageError
from shared.signing import write_secret

_MESSAGE_LIMIT_BYTES = max(row.limit_bytes for row in topics.TABLE)
_QUEUED_BYTES = 64 * 1024 * 1024
_QUEUED_MESSAGES = 10_000
_SALT_BYTES = 12
_ITERATIONS = 101  # mosquitto's own default; the secret is 256 random bits, so few are enough


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Certificate files of a listener that asks every client for a certificate of `ca_file`."""

    ca_file: Path
    cert_file: Path
    key_file: Path


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where mosquitto listens; without `tls` it asks for passwords, which fit loopback only."""

    host: str
    port: int
    tls: Tls | None = None


def write_configuration(
    folder: Path, *, listener: Listener, server: Credentials, users: dict[str, User]
) -> Path:
    """Write `mosquitto.conf`, `acl` and `passwords` into `folder`; return the first's path.

    An existing password file keeps its other entries.

    Raises:
        UsageError: the folder cannot be written, or a certificate file is missing.
    """
    tls = listener.tls
    for file in (tls.ca_file, tls.cert_file, tls.key_file) if tls else ():
        if not file.is_file():
            raise UsageError(f"no certificate or key in {file}")
    folder = folder.absolute()
    configuration = folder / "mosquitto.conf"
    try:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        write_secret(folder / "passwords", _passwords(folder / "passwords", server))
        write_secret(folder / "acl", _text(acl_lines(users)))
        write_secret(configuration, _text(_configuration_lines(folder, listener)))
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    return configuration


def acl_lines(users: dict[str, User]) -> Iterator[str]:
    """Yield the lines of an access file: the server, each operator, a pattern for all cars."""
    operators = sorted(name for name, user in users.items() if user.role == "operator")
    for name, role in [(SERVER_USER, "server"), *((name, "operator") for name in operators)]:
        yield f"user {name}"
        for row in topics.TABLE:
            own = {"actor": name} if role == "operator" and role in row.publishers else {}
            yield from _rights("topic", row, role, own)
        yield ""
    for row in topics.TABLE:
        yield from _rights("pattern", row, "device", {"id": "%u"})


def password_line(user: str, secret: str, salt: bytes) -> str:
    """Return one entry of a mosquitto password file: PBKDF2 with SHA-512, mosquitto's format 7."""
    key = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, _ITERATIONS)
    salt_text, key_text = (base64.b64encode(part).decode() for part in (salt, key))
    return f"{user}:$7${_ITERATIONS}${salt_text}${key_text}"


def _rights(keyword: str, row: topics.Topic, role: str, own: dict[str, str]) -> Iterator[str]:
    parts = {name: value for name, value in own.items() if f"{{{name}}}" in row.pattern}
    if role in row.publishers:
        yield f"{keyword} write {row.filter(**parts)}"
    if role in row.subscribers:
        readable = {name: value for name, value in parts.items() if name == "id"}
        yield f"{keyword} read {row.filter(**readable)}"


def _configuration_lines(folder: Path, listener: Listener) -> Iterator[str]:
    yield "# Written by `parkfleet broker config`. Start it with: mosquitto -c THIS_FILE"
    yield f"listener {listener.port} {listener.host}"
    yield "allow_anonymous false"
    yield "use_username_as_clientid true"
    if listener.tls is None:
        yield f"password_file {folder}/passwords"
    else:
        yield f"cafile {listener.tls.ca_file.absolute()}"
        yield f"certfile {listener.tls.cert_file.absolute()}"
        yield f"keyfile {listener.tls.key_file.absolute()}"
        yield "tls_version tlsv1.2"
        yield "require_certificate true"
        yield "use_identity_as_username true"
    yield f"acl_file {folder}/acl"
    yield "persistence true"
    yield f"persistence_location {folder}/data/"
    yield "autosave_interval 60"
    yield f"message_size_limit {_MESSAGE_LIMIT_BYTES}"
    yield f"max_queued_messages {_QUEUED_MESSAGES}"
    yield f"max_queued_bytes {_QUEUED_BYTES}"
    yield "max_inflight_messages 20"
    yield "log_dest stderr"


def _passwords(path: Path, server: Credentials) -> bytes:
    kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines = [line for line in kept if line and not line.startswith(f"{server.user}:")]
    own = password_line(server.user, server.secret, os.urandom(_SALT_BYTES))
    return _text([own, *lines])


def _text(lines: "Iterator[str] | list[str]") -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
