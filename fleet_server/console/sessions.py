"""Who looks at the console: people who signed in with an access token, and guests.

Laws:
- a session is 256 random bits in a cookie that scripts cannot read and other sites cannot send; of
  it only the SHA-256 is held, in memory: a restart signs everybody out;
- a session holds no right of its own: each time its token is looked up, so that a token that is
  revoked counts no more from that instant;
- a session ends when it is signed out, `idle` after its last use and `whole` after its begin;
- a guest sees what a viewer sees and changes nothing; who is one is decided by `guests`.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from fleet_server import tokens
from fleet_server.storage.database import Database
from fleet_server.tokens import Bearer
from shared.clock import Clock
from shared.errors import RefusedError
from shared.ids import sha256_hex

Guests = Literal["nobody", "loopback", "everybody"]

COOKIE = "parkfleet_session"
GUEST = Bearer(name="guest", role="viewer")
MOST = 1000
"""Sessions that are open at once; the one unused for longest makes room."""

_IDLE_SHARE = 12
_LOOPBACK = ("127.0.0.1", "::1")
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Somebody at a page: a guest, or who signed in as `session`."""

    session: str | None


@dataclass(frozen=True, kw_only=True)
class _Session:
    token: int
    begun_us: int
    used_us: int


class Sessions:
    """All sessions of one process."""

    def __init__(self, database: Database, clock: Clock, *, guests: Guests, whole_s: float) -> None:
        """Look tokens up in `database`; a session lasts `whole_s`, a twelfth of it unused."""
        self._database = database
        self._clock = clock
        self._guests = guests
        self._whole_us = round(whole_s * 1e6)
        self._open: dict[str, _Session] = {}

    def sign_in(self, secret: str) -> str:
        """Begin a session for a token; return what its cookie holds.

        Raises:
            RefusedError: the token is unknown, revoked or a training worker's.
            RetryLaterError: the database cannot be used now.
        """
        with self._database.read() as connection:
            known = tokens.known(connection, secret.strip())
        if known is None:
            raise RefusedError("this token is unknown or was revoked: ask for a new one")
        if known.bearer.role == "trainer":
            raise RefusedError("this token is for a training worker, which needs no console")
        now = self._clock.monotonic_us()
        cookie = secrets.token_urlsafe(32)
        self._make_room()
        self._open[_digest(cookie)] = _Session(token=known.id, begun_us=now, used_us=now)
        return cookie

    def sign_out(self, visitor: Visitor) -> None:
        """End a visitor's session."""
        self._open.pop(visitor.session or "", None)

    def visitor(
        self, *, peer: str, headers: Mapping[str, str], cookies: Mapping[str, str]
    ) -> Visitor | None:
        """Return who sends such a request, or None where it is nobody who may look."""
        key = _digest(cookies.get(COOKIE, ""))
        if key in self._open:
            return Visitor(session=key)
        return Visitor(session=None) if may_be_guest(self._guests, peer, headers) else None

    def bearer(self, visitor: Visitor) -> Bearer | None:
        """Return whom a visitor stands for at this instant, or None where it is nobody any more.

        Raises:
            RetryLaterError: the database cannot be used now.
        """
        if visitor.session is None:
            return GUEST
        session, now = self._open.get(visitor.session), self._clock.monotonic_us()
        if session is None or self._is_over(session, now):
            self._open.pop(visitor.session, None)
            return None
        with self._database.read() as connection:
            found = tokens.in_force(connection, session.token)
        if found is None:
            self._open.pop(visitor.session, None)
        return found

    def touch(self, visitor: Visitor) -> None:
        """Note that a person did something, which keeps a session from ending unused."""
        session = self._open.get(visitor.session or "")
        if session is not None and visitor.session is not None:
            now = self._clock.monotonic_us()
            self._open[visitor.session] = replace(session, used_us=now)

    def _is_over(self, session: _Session, now_us: int) -> bool:
        return (
            now_us - session.begun_us >= self._whole_us
            or now_us - session.used_us >= self._whole_us // _IDLE_SHARE
        )

    def _make_room(self) -> None:
        if len(self._open) >= MOST:
            self._open.pop(min(self._open, key=lambda each: self._open[each].used_us))


def may_be_guest(guests: Guests, peer: str, headers: Mapping[str, str]) -> bool:
    """Tell whether who sends such a request may look without signing in.

    On loopback that is who is on this machine, asks for it by a name of this machine (a page that
    another site's name was bent to is none of ours), and was sent on by no proxy.
    """
    if guests != "loopback":
        return guests == "everybody"
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return (
        peer in _LOOPBACK
        and name in _LOCAL_NAMES
        and not any(each in headers for each in _FORWARDED)
    )


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from a page of this server, as far as the browser says."""
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _digest(cookie: str) -> str:
    return sha256_hex(cookie.encode("utf-8", "replace"))
