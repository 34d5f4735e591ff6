"""Answers that a client has already are not sent again.

Laws:
- every JSON answer to a GET that succeeded has an ETag over its bytes; what names its own (a file
  by its digest) keeps it;
- `If-None-Match` with that tag is answered 304, without a body.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.ids import sha256_hex

_KEPT = ("etag", "cache-control", "x-request-id", "vary")


class ETags:
    """ASGI middleware that compares what would be sent with what the client has."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and hold a JSON answer back until its tag is known."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        wanted = _wanted(scope)
        start: Message | None = None
        body = bytearray()

        async def held(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_tagged(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                await _answer(start, bytes(body), wanted, send)
                start = None

        await self._app(scope, receive, held)


def _is_tagged(start: Message) -> bool:
    """Tell whether an answer gets a tag; a stream of events has no end to wait for."""
    headers = MutableHeaders(raw=start["headers"])
    is_json = headers.get("content-type", "").startswith("application/json")
    return start["status"] == 200 and (is_json or "etag" in headers)


async def _answer(start: Message, body: bytes, wanted: frozenset[str], send: Send) -> None:
    headers = MutableHeaders(raw=list(start["headers"]))
    if "etag" not in headers:
        headers["ETag"] = f'W/"{sha256_hex(body)[:32]}"'
        headers.setdefault("Cache-Control", "private, no-cache")
    if _bare(headers["etag"]) in wanted or "*" in wanted:
        kept = [(key, value) for key, value in headers.raw if key.decode().lower() in _KEPT]
        await send({"type": "http.response.start", "status": 304, "headers": kept})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({**start, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})


def _wanted(scope: Scope) -> frozenset[str]:
    given = dict(scope["headers"]).get(b"if-none-match", b"").decode("latin-1")
    return frozenset(_bare(each.strip()) for each in given.split(",") if each.strip())


def _bare(tag: str) -> str:
    """Return a tag as the weak comparison of RFC 9110 sees it."""
    return tag.removeprefix("W/").strip('"')
