"""What a car says to its server over HTTP: one request, one bounded answer.

Laws:
- a code or a proof of keys travels over TLS or not beyond this machine;
- nothing is followed, tried again or believed: who calls judges the answer.
"""

from contextlib import closing
from urllib.parse import urlsplit

import msgspec
import urllib3

from shared.errors import RetryLaterError, UsageError

ANSWER_LIMIT_BYTES = 1024 * 1024
_TIMEOUT_S = 15.0


class _Problem(msgspec.Struct, frozen=True):
    """An `application/problem+json`."""

    title: str = ""
    detail: str = ""


def address(server_url: str, path: str) -> str:
    """Return the address of `path` at the server.

    Raises:
        UsageError: `server_url` is no server's address, or would be reached in the clear.
    """
    parts = urlsplit(server_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{server_url!r} is no address of a server: try http://127.0.0.1:8080")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise UsageError(
            f"{server_url} would send the code in the clear beyond this machine: use https://"
        )
    return server_url.rstrip("/") + path


def post(url: str, body: dict[str, str]) -> bytes:
    """Return the body of the answer to `body`, which was accepted.

    Raises:
        UsageError: the server refused, answered too much, or there is no such address.
        RetryLaterError: nobody answers, or the server cannot answer now.
    """
    try:
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S) as http:
            response = http.request("POST", url, json=body, preload_content=False, redirect=False)
            with closing(response):
                answer = response.read(ANSWER_LIMIT_BYTES + 1)
    except urllib3.exceptions.LocationParseError:
        raise UsageError(f"{url} is no address of a server") from None
    except urllib3.exceptions.HTTPError:
        raise RetryLaterError(
            f"no server answers at {url}: is it running, is the address right?"
        ) from None
    if response.status >= 500:
        raise RetryLaterError(f"the server cannot answer now: {_reason(response.status, answer)}")
    if response.status >= 300:
        raise UsageError(f"the server refused: {_reason(response.status, answer)}")
    if len(answer) > ANSWER_LIMIT_BYTES:
        raise UsageError(f"{url} answered more than {ANSWER_LIMIT_BYTES} bytes")
    return answer


def _reason(status: int, body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, RecursionError):
        return f"HTTP {status}"
    text = problem.detail or problem.title or f"HTTP {status}"
    return "".join(each for each in text[:200] if each.isprintable())
