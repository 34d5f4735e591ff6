"""What is told of each request: an id on every log line, an audit line, a measure.

Laws:
- the answer names the request's id (`X-Request-Id`), which the caller may choose; every line that
  is logged for it ends with that id;
- whatever could change something leaves one `audit` line: who, as what, which route, how it ended;
- neither a body nor a token is ever logged, and of a path only what the route's pattern names.
"""

import logging
import re
import secrets
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet_server.api.context import Context
from fleet_server.tokens import Bearer
from shared import logs

logger = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _READS | {"DELETE", "PATCH", "POST", "PUT"}
_WHO = "parkfleet_bearer"


def note_bearer(scope: Scope, bearer: Bearer) -> None:
    """Keep who calls, for the audit line."""
    scope[_WHO] = bearer


def bearer_of(scope: Scope) -> Bearer | None:
    """Return who calls, or None where that is not known, or not yet."""
    return cast("Bearer | None", scope.get(_WHO))


class Told:
    """ASGI middleware that tells of every request under `prefix`."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        """Wrap `app`."""
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell how it went."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        context = cast("Context", scope["app"].state.context)
        number = _request_id(scope)
        began_us, status = context.clock.monotonic_us(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", number.encode())]
            await send(message)

        with logs.bound(request=number):
            try:
                await self._app(scope, receive, noted)
            finally:
                seconds = (context.clock.monotonic_us() - began_us) / 1e6
                # A stranger may make up any method; a route is one of ours or unknown.
                method = scope["method"] if scope["method"] in _METHODS else "other"
                context.traffic.count(method, _route(scope), status, seconds)
                _audit(scope, status)


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)


def _route(scope: Scope) -> str:
    """Return the route's pattern, such as `/api/v1/devices/{device}`."""
    route: Any = scope.get("route")
    return str(getattr(route, "path_format", "unknown"))


def _audit(scope: Scope, status: int) -> None:
    if scope["method"] in _READS:
        return
    who = bearer_of(scope)
    logger.info(
        "audit actor=%s role=%s method=%s route=%s of=%s status=%d",
        *(who.name if who else "nobody", who.role if who else "none"),
        *(scope["method"], _route(scope), scope.get("path_params", {}), status),
    )
