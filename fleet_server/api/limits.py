"""A bound on what a request may carry, enforced before anything reads it.

Laws:
- a body longer than its route allows is answered 413 at its declared length, or as soon as it has
  grown too long; no more of it than that is ever held.
"""

import re
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet_server.api import problems
from fleet_server.api.models import MAX_METADATA_BYTES
from fleet_server.training.runs import MAX_ARTEFACT_BYTES
from shared.releases import MAX_MODEL_BYTES

DEFAULT_BYTES = 1024 * 1024
MODEL_BYTES = MAX_MODEL_BYTES + 2 * MAX_METADATA_BYTES + 64 * 1024

_MODELS = "/api/v1/models"
_ARTEFACT = re.compile(r"/api/v1/training-jobs/[0-9]+/artefacts/[^/]+")


class _TooLongError(Exception):
    """The body outgrew its limit while it was read."""


class BodyLimit:
    """ASGI middleware that keeps request bodies within bounds."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = _limit(scope["path"])
        refusal = problems.answer(413, f"a request to this path holds at most {limit} bytes")
        if _declared(scope) > limit:
            await refusal(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooLongError
            return message

        async def unless_too_long(message: Message) -> None:
            # The framework answers 400 to any error while it reads a body; ours says what is wrong.
            if seen <= limit:
                await send(message)

        with suppress(_TooLongError):
            await self._app(scope, counted, unless_too_long)
        if seen > limit:
            await refusal(scope, receive, send)


def _limit(path: str) -> int:
    if path == _MODELS:
        return MODEL_BYTES
    return MAX_ARTEFACT_BYTES if _ARTEFACT.fullmatch(path) else DEFAULT_BYTES


def _declared(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0
