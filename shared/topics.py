"""ONE table of all topics: who says what to whom, how surely, and who may.

Laws:
- nobody builds a topic from strings elsewhere;
- a broker's rights (`may_publish`, `may_subscribe`) are read from the table, for a publish and a
  last will alike; whatever the table does not name is forbidden;
- only `batch` may be shared between consumers.
"""

import re
from dataclasses import dataclass
from typing import Literal

from shared import messages
from shared.ids import is_device_name

ROOT = "fleet/v1"

Role = Literal["device", "server", "operator", "viewer"]
"""Who a broker's user is; `operator` and `viewer` are consoles, which may order or not."""

CHUNK_BYTES = 64 * 1024
"""The most that one piece of a model may have on `releases/target/{sha256}/{n}`."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One row of the table.

    `limit_bytes` bounds a payload as received, envelope included. `signed` messages travel in an
    envelope of `shared.signing`.
    """

    name: str
    pattern: str
    message: type[messages.Message]
    qos: Literal[0, 1]
    retained: bool
    publishers: tuple[Role, ...]
    subscribers: tuple[Role, ...]
    signed: bool
    limit_bytes: int

    def topic(self, **parts: str | int) -> str:
        """Return the full topic with its placeholders filled in.

        Raises:
            KeyError: a placeholder was not given.
        """
        return f"{ROOT}/{self.pattern.format(**parts)}"

    def filter(self, **parts: str | int) -> str:
        """Return the subscription filter; placeholders not given become `+`."""
        filled = {name: parts.get(name, "+") for name in _placeholders(self.pattern)}
        return f"{ROOT}/{self.pattern.format(**filled)}"

    def parts(self, topic: str) -> dict[str, str] | None:
        """Return the values of the placeholders in `topic`, or None if it is another topic."""
        match = _compiled[self.name].fullmatch(topic)
        return match.groupdict() if match else None


def _placeholders(pattern: str) -> list[str]:
    return re.findall(r"{(\w+)}", pattern)


_K = 1024
_ALL: tuple[Role, ...] = ("device", "server", "operator", "viewer")
_OPERATORS: tuple[Role, ...] = ("server", "operator")
_WATCHERS: tuple[Role, ...] = ("server", "operator", "viewer")

PRESENCE = Topic(
    name="presence",
    pattern="device/{id}/presence",
    message=messages.Presence,
    qos=1,
    retained=True,
    publishers=("device",),
    subscribers=_WATCHERS,
    signed=False,
    limit_bytes=1 * _K,
)
STATUS = Topic(
    name="status",
    pattern="device/{id}/status",
    message=messages.Status,
    qos=1,
    retained=True,
    publishers=("device",),
    subscribers=_WATCHERS,
    signed=False,
    limit_bytes=8 * _K,
)
TELEMETRY = Topic(
    name="telemetry",
    pattern="device/{id}/telemetry",
    message=messages.Telemetry,
    qos=0,
    retained=False,
    publishers=("device",),
    subscribers=_WATCHERS,
    signed=False,
    limit_bytes=2 * _K,
)
BATCH = Topic(
    name="batch",
    pattern="device/{id}/batch",
    message=messages.Batch,
    qos=1,
    retained=False,
    publishers=("device",),
    subscribers=("server",),
    signed=True,
    limit_bytes=160 * _K,
)
RECEIPT = Topic(
    name="receipt",
    pattern="device/{id}/receipt",
    message=messages.Receipt,
    qos=1,
    retained=False,
    publishers=("server",),
    subscribers=("device",),
    signed=True,
    limit_bytes=2 * _K,
)
DESIRED = Topic(
    name="desired",
    pattern="device/{id}/desired",
    message=messages.Desired,
    qos=1,
    retained=True,
    publishers=("server",),
    subscribers=("device", "operator", "viewer"),
    signed=True,
    limit_bytes=8 * _K,
)
COMMAND = Topic(
    name="command",
    pattern="device/{id}/command/{actor}",
    message=messages.Command,
    qos=1,
    retained=False,
    publishers=_OPERATORS,
    subscribers=("device", "server"),
    signed=True,
    limit_bytes=8 * _K,
)
RESULT = Topic(
    name="result",
    pattern="device/{id}/command/{actor}/result",
    message=messages.CommandResult,
    qos=1,
    retained=False,
    publishers=("device",),
    subscribers=_WATCHERS,
    signed=False,
    limit_bytes=2 * _K,
)
UPDATE = Topic(
    name="update",
    pattern="device/{id}/update",
    message=messages.UpdateEvent,
    qos=1,
    retained=False,
    publishers=("device",),
    subscribers=_WATCHERS,
    signed=False,
    limit_bytes=8 * _K,
)
OPERATORS = Topic(
    name="operators",
    pattern="operators",
    message=messages.Operators,
    qos=1,
    retained=True,
    publishers=("server",),
    subscribers=_ALL,
    signed=True,
    limit_bytes=16 * _K,
)
RELEASE_METADATA = Topic(
    name="release_metadata",
    pattern="releases/meta",
    message=messages.ReleaseMetadata,
    qos=1,
    retained=True,
    publishers=("server",),
    subscribers=_ALL,
    signed=False,
    limit_bytes=4 * _K * _K,
)
RELEASE_TARGET = Topic(
    name="release_target",
    pattern="releases/target/{sha256}/{n}",
    message=messages.Chunk,
    qos=1,
    retained=True,
    publishers=("server",),
    subscribers=_ALL,
    signed=False,
    limit_bytes=CHUNK_BYTES,
)

TABLE: tuple[Topic, ...] = (
    PRESENCE,
    STATUS,
    TELEMETRY,
    BATCH,
    RECEIPT,
    DESIRED,
    COMMAND,
    RESULT,
    UPDATE,
    OPERATORS,
    RELEASE_METADATA,
    RELEASE_TARGET,
)
"""Every topic there is."""

# What may stand for a placeholder: the names of `shared.ids`, a digest, a piece's number.
_SEGMENTS = {
    "id": "[a-z0-9][a-z0-9-]{0,46}[a-z0-9]",
    "actor": "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
    "sha256": "[0-9a-f]{64}",
    "n": "[0-9]{1,5}",
}


def _with_segments(pattern: str, form: str) -> re.Pattern[str]:
    """Return `pattern` as a regular expression; in `form`, {name} and {segment} are filled in."""

    def fill(placeholder: re.Match[str]) -> str:
        return form.format(name=placeholder[1], segment=_SEGMENTS[placeholder[1]])

    return re.compile(re.escape(ROOT) + "/" + re.sub(r"{(\w+)}", fill, pattern))


_compiled = {row.name: _with_segments(row.pattern, "(?P<{name}>{segment})") for row in TABLE}
_filters = {row.name: _with_segments(row.pattern, r"(?:\+|{segment})") for row in TABLE}


def match(topic: str) -> tuple[Topic, dict[str, str]] | None:
    """Return the row that `topic` belongs to and its placeholders' values, or None."""
    for row in TABLE:
        parts = row.parts(topic)
        if parts is not None:
            return row, parts
    return None


def may_publish(role: Role, user: str, topic: str) -> bool:
    """Tell whether `user` with `role` may publish on `topic`, as a message or as a last will."""
    found = match(topic)
    if found is None:
        return False
    row, parts = found
    return role in row.publishers and _is_own(role, user, parts)


def may_subscribe(role: Role, user: str, topic_filter: str) -> bool:
    """Tell whether `user` with `role` may subscribe to `topic_filter`.

    A device may ask for its own topics, or for all pieces of a release; a filter is allowed where
    one row of the table covers everything that it can match.
    """
    plain = re.sub(r"^\$share/[^/+#]+/", "", topic_filter)
    if plain != topic_filter and not (role == "server" and BATCH.filter() == plain):
        return False
    return any(
        role in row.subscribers and _covers(row, plain) and _is_own_filter(role, user, row, plain)
        for row in TABLE
    )


def _is_own(role: Role, user: str, parts: dict[str, str]) -> bool:
    if role == "device":
        return parts.get("id", user) == user and is_device_name(user)
    if role in ("operator", "viewer"):
        return parts.get("actor", user) == user
    return True


def _covers(row: Topic, topic_filter: str) -> bool:
    return _filters[row.name].fullmatch(topic_filter) is not None


def _is_own_filter(role: Role, user: str, row: Topic, topic_filter: str) -> bool:
    if role != "device":
        return True
    held = f"{ROOT}/{row.pattern}".split("/")
    return is_device_name(user) and all(
        h != "{id}" or w == user for w, h in zip(topic_filter.split("/"), held, strict=True)
    )
