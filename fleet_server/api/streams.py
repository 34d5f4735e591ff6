"""Server-sent events: a client is told of each change instead of asking again and again.

Laws:
- an event is the whole state as its list shows it, so that a client that missed some has all;
- a stream ends with its subject, when the server stops, and after `event_stream_s` at the latest;
  clients connect again, as EventSource does;
- only so many streams are open at once: the next one is answered 503.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from fleet_server.api.context import Context
from shared.errors import RetryLaterError

V = TypeVar("V")

LOOK_S = 0.5
"""Pause between two looks."""

KEEP_ALIVE_LOOKS = 30
"""Looks without news after which a comment keeps proxies from closing the connection."""

MOST = 100
"""Streams that one process keeps open."""

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events; the data of each is the state as JSON.",
        "content": {
            "text/event-stream": {
                # One event, as its reader sees it.
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "data": {"type": "string", "contentMediaType": "application/json"}
                    },
                }
            }
        },
    }
}

_OPEN = "streams"


def respond(
    context: Context, read: Callable[[], V], is_over: Callable[[V], bool]
) -> StreamingResponse:
    """Return a stream of what `read` returns, at first and at each change, until it is over.

    Raises:
        RetryLaterError: too many streams are open.
    """
    if context.open[_OPEN] >= MOST:
        raise RetryLaterError(f"{MOST} event streams are open")

    async def look() -> V:
        return await anyio.to_thread.run_sync(read)

    def ends(found: V) -> bool:
        return is_over(found) or context.stopping.is_set()

    async def pause() -> None:
        await anyio.sleep(LOOK_S)

    looks = max(1, round(context.settings.event_stream_s / LOOK_S))

    async def counted() -> AsyncIterator[bytes]:
        with _counted(context):
            async for piece in pieces(look, ends, pause, looks=looks):
                yield piece

    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(counted(), media_type="text/event-stream", headers=headers)


async def pieces(
    look: Callable[[], Awaitable[V]],
    is_over: Callable[[V], bool],
    pause: Callable[[], Awaitable[None]],
    *,
    looks: int,
) -> AsyncIterator[bytes]:
    """Yield the event of each state that differs from the last, at most `looks` looks long."""
    last: V | None = None
    quiet = 0
    for number in range(looks):
        if number:
            await pause()
        found = await look()
        if found != last:
            yield format_sse_event(data_str=msgspec.json.encode(found).decode())
            last, quiet = found, 0
        else:
            quiet += 1
        if quiet == KEEP_ALIVE_LOOKS:
            yield KEEPALIVE_COMMENT
            quiet = 0
        if is_over(found):
            return


@contextmanager
def _counted(context: Context) -> Any:
    context.open[_OPEN] += 1
    try:
        yield
    finally:
        context.open[_OPEN] -= 1
