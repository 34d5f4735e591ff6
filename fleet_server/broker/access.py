"""Who may do what on the embedded broker: pure rules over the users and the topic table.

Laws:
- what is not allowed by `shared.topics` is refused, with a reason that names no secret;
- a last will is held to the same rules as a publish, before the connection is accepted;
- a client id is its user's name, so that nobody takes over another's connection or queue;
- a publish keeps the size, the retained flag and the quality of service of its row in the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet_server.broker.users import User, find_user, is_secret_of
from shared import topics


@dataclass(frozen=True, kw_only=True)
class Publish:
    """What someone wants to say, now or as a last will."""

    topic: str
    size_bytes: int
    retained: bool
    qos: int


@dataclass(frozen=True, kw_only=True)
class Knock:
    """Who asks for a connection, and with what."""

    client_id: str
    user: str
    secret: str = field(repr=False)
    will: Publish | None


class Access:
    """The rules, over one state of the users file."""

    def __init__(self, users: Mapping[str, User]) -> None:
        """Judge by `users`."""
        self._users = users

    def refuse_connection(self, knock: Knock) -> str | None:
        """Return why this connection is refused, or None where it is welcome."""
        user = find_user(self._users, knock.user)
        if user is None or not is_secret_of(user, knock.secret):
            return "unknown user or wrong secret"
        if knock.client_id != knock.user:
            return "the client id is not the user's name"
        if knock.will is not None:
            refusal = self.refuse_publish(knock.user, knock.will)
            return refusal and f"last will: {refusal}"
        return None

    def refuse_publish(self, name: str, publish: Publish) -> str | None:
        """Return why user `name` may not say this, or None where it may."""
        user = find_user(self._users, name)
        found = topics.match(publish.topic)
        if user is None or found is None:
            return "unknown user" if user is None else "no topic of ours"
        if not topics.may_publish(user.role, name, publish.topic):
            return "not this user's topic"
        row, _ = found
        if publish.size_bytes > row.limit_bytes:
            return f"{publish.size_bytes} bytes, limit {row.limit_bytes}"
        if publish.retained and not row.retained:
            return "may not be retained"
        return "quality of service above 1" if publish.qos > 1 else None

    def may_subscribe(self, name: str, topic_filter: str) -> bool:
        """Tell whether user `name` may subscribe to `topic_filter`.

        Shared subscriptions are refused whoever asks: this broker would take `$share/...` for a
        plain filter that never matches, which looks like success.
        """
        user = find_user(self._users, name)
        return (
            user is not None
            and not topic_filter.startswith("$")
            and topics.may_subscribe(user.role, name, topic_filter)
        )

    def may_receive(self, name: str, topic: str) -> bool:
        """Tell whether a message on `topic` may still be delivered to user `name`."""
        return self.may_subscribe(name, topic)

    def is_changed(self, name: str, since: "Access") -> bool:
        """Tell whether user `name` is gone or has another role or secret than in `since`."""
        before = find_user(since._users, name)  # noqa: SLF001 - the same class
        return find_user(self._users, name) != before
