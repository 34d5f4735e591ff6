"""The web server of a process, beside its other parts.

Laws:
- the other parts begin once it has started: on its way NiceGUI looks through all objects that there
  are, and a thread whose half-made tuple is held by that look dies of it (CPython, issue 107137);
- at a signal it tells streams to end, for whose connections it would else wait.
"""

import signal
import threading
from collections.abc import Callable
from socket import socket
from types import FrameType

import uvicorn


class Web(uvicorn.Server):
    """Serves `config`; calls `begin` once it has started, and sets `stop` at a signal."""

    def __init__(
        self, config: uvicorn.Config, stop: threading.Event, begin: Callable[[], None]
    ) -> None:
        """Prepare; nothing is served yet."""
        super().__init__(config)
        self._stop, self._begin = stop, begin
        self.is_interrupted = False

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start, then let the others begin."""
        await super().startup(sockets)
        self._begin()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End streams, then everything."""
        self.is_interrupted |= sig == signal.SIGINT
        self._stop.set()
        super().handle_exit(sig, frame)
