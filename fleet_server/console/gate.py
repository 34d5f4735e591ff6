"""Signing in and out, what a browser may fetch, and who may open the websocket.

Laws:
- the websocket is for who may look at the pages, and for pages of this server: a page of another
  site, which a browser lets connect anywhere, is turned away;
- a form that changes a session is taken from this server's own pages only;
- a picture or a file is fetched over REST as the person that asks, with that person's rights.
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from fleet_server.console.house import House
from fleet_server.console.sessions import COOKIE, Visitor, is_same_origin
from shared.errors import RefusedError

_SOCKET = "/_nicegui_ws"
_MOST_BYTES = 4096


def visitor_of(house: House, connection: HTTPConnection) -> Visitor | None:
    """Return who sends a request or opens a websocket, or None where it is nobody."""
    peer = connection.client.host if connection.client else ""
    return house.sessions.visitor(peer=peer, headers=connection.headers, cookies=connection.cookies)


class Gate:
    """ASGI middleware that keeps strangers from the pages' websocket."""

    def __init__(self, app: ASGIApp, *, house: House) -> None:
        """Wrap `app`."""
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or turn it away."""
        if scope["type"] in ("http", "websocket") and scope["path"].startswith(_SOCKET):
            visitor = visitor_of(self._house, HTTPConnection(scope))
            if visitor is None or not is_same_origin(Headers(scope=scope)):
                await _turn_away(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await Response(status_code=403)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008})


def install(app: FastAPI, house: House) -> None:
    """Add signing in and out and the fetching of files to `app`."""

    @app.post("/sign-in", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        form = await _form(request)
        follows = target(form.get("next", "/"))
        if not is_same_origin(request.headers):
            return _again("this form came from another site", follows)
        try:
            cookie = await asyncio.to_thread(house.sessions.sign_in, form.get("token", ""))
        except RefusedError as error:
            return _again(str(error), follows)
        response = RedirectResponse(follows, 303)
        response.set_cookie(
            COOKIE,
            cookie,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            max_age=round(house.context.settings.console_session_s),
        )
        return response

    @app.post("/sign-out", include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        response = RedirectResponse("/", 303)
        if is_same_origin(request.headers):
            visitor = visitor_of(house, request)
            if visitor is not None:
                house.sessions.sign_out(visitor)
            response.delete_cookie(COOKIE)
        return response

    @app.get("/view/{path:path}", include_in_schema=False)
    async def view(path: str, request: Request) -> Response:
        visitor = visitor_of(house, request)
        who = await asyncio.to_thread(house.sessions.bearer, visitor) if visitor else None
        if who is None:
            return JSONResponse({"detail": "sign in first"}, 401)
        answer = await house.asking.ask(who, "GET", path)
        headers = {
            "Cache-Control": "private, no-cache",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        }
        return Response(answer.body, answer.status, headers, answer.media_type)


def target(path: str) -> str:
    """Return where to go after signing in: a page of this server, whatever was asked for."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_ours and path.isprintable() else "/"


async def _form(request: Request) -> Mapping[str, str]:
    body = (await request.body())[:_MOST_BYTES]
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    return {name: values[0] for name, values in fields.items()}


def _again(problem: str, follows: str) -> Response:
    return RedirectResponse(f"/sign-in?{urlencode({'problem': problem, 'next': follows})}", 303)
