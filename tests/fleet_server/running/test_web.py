"""The web server and the other parts of a process: who begins when, who ends what."""

import signal
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from fleet_server.running.web import Web

Message = MutableMapping[str, Any]


def _served(told: list[str], stop: threading.Event) -> Web:
    async def application(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        assert scope["type"] == "lifespan"
        while (await receive())["type"] == "lifespan.startup":
            told.append("looked through")
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    config = uvicorn.Config(application, port=0, log_config=None)
    return Web(config, stop, lambda: told.append("begun"))


def test_the_other_parts_begin_once_the_application_has_started() -> None:
    told: list[str] = []
    web = _served(told, threading.Event())
    web.should_exit = True
    web.run()
    assert told == ["looked through", "begun"]


def test_a_signal_ends_streams_before_their_connections_are_waited_for() -> None:
    stop = threading.Event()
    web = _served([], stop)
    web.handle_exit(signal.SIGTERM, None)
    assert stop.is_set()
    assert web.should_exit
    assert not web.is_interrupted
    web.handle_exit(signal.SIGINT, None)
    assert web.is_interrupted
