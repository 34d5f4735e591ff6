"""Writes a mosquitto configuration that holds the same laws as the embedded broker.

Laws:
- rights come from the topic table, line by line; nothing is granted that the table does not name;
- a client id is always replaced by its user's name, so that nobody takes over another's queue; each
  process of the server is therefore a user of its own;
- who may connect is what the users file says: each car's own digest for mosquitto, made on the car,
  and who was removed there is removed here. Entries of names that the users file never held were
  made by hand (`mosquitto_passwd`) and stay;
- the same users give the same bytes: what did not change is not written, and nothing is reloaded.

Mosquitto's defaults lose messages: of 3000 acknowledged ones 1000 were delivered (queue limit).
Ours bound the queue by bytes, and what is lost beyond them stays in the cars' journals.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet_server.broker.tls import Tls
from fleet_server.broker.users import SERVER_USERS, Credentials, User, Users, is_reserved
from shared import topics
from shared.credentials import SALT_BYTES, make_verifier
from shared.errors import UsageError

_MESSAGE_LIMIT_BYTES = max(row.limit_bytes for row in topics.TABLE)
_QUEUED_BYTES = 64 * 1024 * 1024
_QUEUED_MESSAGES = 10_000
_INFLIGHT = 100
"""Sent and not acknowledged yet: several times what the server takes together, else it waits."""
_HANDSHAKE = "tlsv1.2"


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where mosquitto listens; without `tls`, on this machine only."""

    host: str
    port: int
    tls: Tls | None = None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Where the files lie; with `group` (a number), its members may read them and keep data."""

    path: Path
    group: int | None = None

    @property
    def configuration(self) -> Path:
        """What mosquitto is started with."""
        return self.path / "mosquitto.conf"

    def write(self, name: str, lines: Iterator[str]) -> bool:
        """Replace file `name` by `lines`, whole; tell whether it changed."""
        body = "".join(f"{line}\n" for line in lines).encode()
        path = self.path / name
        if path.exists() and path.read_bytes() == body:
            self._give(path)
            return False
        temporary = path.with_name(f"{name}.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            self._give(temporary)
            file.write(body)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        return True

    def _give(self, path: Path) -> None:
        """Let the group read `path`, a file whose group may have been another or none before."""
        if self.group is not None:
            os.chown(path, -1, self.group)
            path.chmod(0o640)

    def make(self) -> None:
        """Make the folder and the one for mosquitto's data."""
        data = self.path / "data"
        for each, mode in ((self.path, 0o750), (data, 0o770)):
            each.mkdir(parents=True, exist_ok=True)
            if self.group is not None:
                os.chown(each, -1, self.group)
                each.chmod(mode)


def write_configuration(
    folder: Folder, *, listener: Listener, server: Credentials, users: Users
) -> Path:
    """Write `mosquitto.conf`, `acl` and `passwords` into `folder`; return the first's path.

    Raises:
        UsageError: the folder cannot be written.
    """
    folder = Folder(path=folder.path.absolute(), group=folder.group)
    try:
        folder.make()
        folder.write("mosquitto.conf", _configuration_lines(folder, listener))
    except OSError as error:
        raise UsageError(f"cannot write to {folder.path}: {error.strerror}") from None
    write_rights(folder, server=server, users=users)
    return folder.configuration


def write_rights(folder: Folder, *, server: Credentials, users: Users) -> bool:
    """Bring `acl` and `passwords` up to date; tell whether that changed them.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        acl = folder.write("acl", acl_lines(users.known))
        passwords = folder.write("passwords", _password_lines(folder, server, users))
    except OSError as error:
        raise UsageError(f"cannot write to {folder.path}: {error.strerror}") from None
    return acl or passwords


def acl_lines(users: Mapping[str, User]) -> Iterator[str]:
    """Yield the lines of an access file: the server, each person, a pattern for all cars."""
    people = sorted(name for name, user in users.items() if user.role in ("operator", "viewer"))
    for name in SERVER_USERS:
        yield from _block(name, "server")
    for name in people:
        yield from _block(name, users[name].role)
    for row in topics.TABLE:
        yield from _rights("pattern", row, "device", {"id": "%u"})


def _block(name: str, role: str) -> Iterator[str]:
    yield f"user {name}"
    for row in topics.TABLE:
        own = {"actor": name} if role == "operator" and role in row.publishers else {}
        yield from _rights("topic", row, role, own)
    yield ""


def _rights(keyword: str, row: topics.Topic, role: str, own: dict[str, str]) -> Iterator[str]:
    parts = {name: value for name, value in own.items() if f"{{{name}}}" in row.pattern}
    if role in row.publishers:
        yield f"{keyword} write {row.filter(**parts)}"
    if role in row.subscribers:
        readable = {name: value for name, value in parts.items() if name == "id"}
        yield f"{keyword} read {row.filter(**readable)}"


def _configuration_lines(folder: Folder, listener: Listener) -> Iterator[str]:
    yield "# Written by `parkfleet broker config`. Start it with: mosquitto -c THIS_FILE"
    yield f"listener {listener.port} {listener.host}"
    yield "use_username_as_clientid true"
    if listener.tls is not None:
        yield from _tls_lines(listener.tls)
    yield "allow_anonymous false"
    yield "allow_zero_length_clientid false"
    yield f"password_file {folder.path}/passwords"
    yield f"acl_file {folder.path}/acl"
    yield f"pid_file {folder.path}/data/mosquitto.pid"
    yield "persistence true"
    yield f"persistence_location {folder.path}/data/"
    yield "autosave_interval 60"
    yield f"message_size_limit {_MESSAGE_LIMIT_BYTES}"
    yield f"max_queued_messages {_QUEUED_MESSAGES}"
    yield f"max_queued_bytes {_QUEUED_BYTES}"
    yield f"max_inflight_messages {_INFLIGHT}"
    # What answers a car that fetches piece by piece is small: held back for more to send with it,
    # each piece of a model came 40 ms later.
    yield "set_tcp_nodelay true"
    yield "log_dest stderr"
    # Each connection that is refused leaves a line of type notice.
    for kind in ("error", "warning", "notice", "information"):
        yield f"log_type {kind}"


def _tls_lines(tls: Tls) -> Iterator[str]:
    yield f"certfile {tls.cert_file.absolute()}"
    yield f"keyfile {tls.key_file.absolute()}"
    yield f"tls_version {_HANDSHAKE}"
    if tls.ca_file is not None:
        yield f"cafile {tls.ca_file.absolute()}"
        yield "require_certificate true"


def _password_lines(folder: Folder, server: Credentials, users: Users) -> Iterator[str]:
    for name in SERVER_USERS:
        # Derived, so that the same users give the same bytes; a salt is no secret.
        salt = hashlib.sha256(f"{name}:{server.secret}".encode()).digest()[:SALT_BYTES]
        yield f"{name}:{make_verifier(server.secret, salt)}"
    for name, user in sorted(users.known.items()):
        if user.verifier is not None and not is_reserved(name):
            yield f"{name}:{user.verifier}"
    path = folder.path / "passwords"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        name = line.partition(":")[0]
        ours = is_reserved(name) or name in users.removed or _has_verifier(users.known, name)
        if line and not ours:
            yield line


def _has_verifier(users: Mapping[str, User], name: str) -> bool:
    return name in users and users[name].verifier is not None
