"""The laboratory's view of a fleet server: its REST API and nothing else.

Laws:
- the laboratory sees what any other client sees; no table and no file of the server is read;
- a server that is restarting is a passing fault, told apart from a refusal.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx2

from shared.errors import RefusedError, RetryLaterError, UsageError

_PAGE = 500


class Server:
    """A fleet server at `url`, spoken to with an operator's token."""

    def __init__(self, url: str, token: str = "") -> None:
        """Prepare a client; nothing is sent yet.

        Raises:
            UsageError: `url` is no address of a server.
        """
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
            raise UsageError(f"{url!r} is no address of a server: try http://127.0.0.1:8080")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=15.0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def is_ready(self) -> bool:
        """Tell whether the server answers that it is ready."""
        try:
            return self._client.get("/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def get(self, path: str, **query: object) -> Any:
        """Return the JSON answer of `GET /api/v1/{path}`.

        Raises:
            RetryLaterError: the server is away or overloaded.
            RefusedError: the server refused; the text holds its reason.
        """
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def data(self, path: str) -> bytes:
        """Return the body of `GET /api/v1/{path}`, such as a picture; raises as `get` does."""
        return self._answer("GET", path).content

    def post(self, path: str, body: object) -> Any:
        """Return the JSON answer of `POST /api/v1/{path}`; raises as `get` does."""
        return self._call("POST", path, json=body)

    def put(self, path: str, body: object) -> Any:
        """Return the JSON answer of `PUT /api/v1/{path}`; raises as `get` does."""
        return self._call("PUT", path, json=body)

    def all(self, path: str, **query: object) -> Iterator[Any]:
        """Yield every item of a list, page by page; raises as `get` does."""
        cursor: object = None
        while True:
            page = self.get(path, cursor=cursor, limit=_PAGE, **query)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self._answer(method, path, **arguments)
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        try:
            answer = self._client.request(method, f"/api/v1/{path}", **arguments)
        except httpx2.TransportError as error:
            raise RetryLaterError(f"fleet server at {self.url}: {error}") from None
        if answer.status_code >= 500:
            raise RetryLaterError(f"fleet server: {answer.status_code} at {path}")
        if answer.status_code >= 400:
            raise RefusedError(f"{method} {path}: {answer.status_code} {_reason(answer)}")
        return answer


def _reason(answer: httpx2.Response) -> str:
    """Return why the server refused, in its own words where it gave some."""
    try:
        return str(answer.json()["detail"])[:200]
    except (ValueError, LookupError, TypeError):
        return answer.text[:200]
