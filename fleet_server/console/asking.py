"""Acts of a person at the console: calls of the REST API inside this process, as that person.

Laws:
- the console changes nothing itself: what it may do, what is checked and what is entered in the log
  book are REST's, since the very routes are called, with their guards and their audit line;
- whom the call is made for travels beside the request, where no browser can write.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Scope

from fleet_server.api.requests import note_bearer
from fleet_server.tokens import Bearer

PREFIX = "/api/v1"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the API answered."""

    status: int
    body: bytes
    media_type: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it was done."""
        return 200 <= self.status < 300

    @property
    def content(self) -> Any:
        """What JSON says."""
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """Why it was not done, in words."""
        return str(self.content.get("detail", "")) or f"the server answered {self.status}"


class Asking:
    """Calls the API that `app` serves."""

    def __init__(self, app: ASGIApp) -> None:
        """Call `app` itself, over no network."""
        self._app = app

    async def ask(
        self, who: Bearer, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Answer:
        """Return the answer to one call as `who`; `path` follows `/api/v1`, less its slash."""
        content = b"" if body is None else json.dumps(body).encode()
        messages: list[Message] = []
        unread = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Message:
            return unread.pop() if unread else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            messages.append(message)

        scope = _scope(method, f"{PREFIX}/{path}", len(content))
        note_bearer(scope, who)
        await self._app(scope, receive, send)
        return _answer(messages)


def _scope(method: str, path: str, length: int) -> Scope:
    plain, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": plain,
        "raw_path": quote(plain).encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"console"),
            (b"content-type", b"application/json"),
            (b"content-length", str(length).encode()),
        ],
        "client": None,
        "server": None,
        "state": {},
    }


def _answer(messages: list[Message]) -> Answer:
    start = next(each for each in messages if each["type"] == "http.response.start")
    headers = dict(start.get("headers", ()))
    pieces = (each.get("body", b"") for each in messages if each["type"] == "http.response.body")
    return Answer(
        status=start["status"],
        body=b"".join(pieces),
        media_type=headers.get(b"content-type", b"").decode("latin-1"),
    )
