"""Runs the embedded broker beside a server's state folder, until it is told to stop.

Laws:
- the port is taken before anything else happens, so that a port in use is a person's mistake with
  one line of text, and nothing has started;
- a users file that appears or changes is taken over within a second; one that is broken is logged
  and the last good one stays in force;
- nothing is kept across restarts: owners of retained messages say them again on every connection.
"""

import asyncio
import logging
import signal
import socket
import ssl
from pathlib import Path

from fleet_server.broker.access import Access
from fleet_server.broker.embedded import WATCH_S, EmbeddedBroker
from fleet_server.broker.stamp import Stamp
from fleet_server.broker.tls import Tls, check_listener, server_context
from fleet_server.broker.users import read_users, users_path
from shared.errors import UsageError

logger = logging.getLogger(__name__)

_SHUTDOWN_S = 5.0


class UsersWatch:
    """The rules of one users file, anew whenever it changed."""

    def __init__(self, path: Path) -> None:
        """Read the file once, so that a broken one is known at the start.

        Raises:
            UsageError: the file is broken.
        """
        self._path = path
        read_users(path)
        self._stamp = Stamp(path)

    def changed(self) -> Access | None:
        """Return the rules if the file changed since the last call, else None."""
        if not self._stamp.is_new():
            return None
        try:
            return Access(read_users(self._path))
        except UsageError as error:
            logger.warning("the last good users stay in force: %s", error)
            return None


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host` and `port` (0: any free one).

    Raises:
        UsageError: the port is in use or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"no address {host!r} to listen on: {error.strerror}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from None
    return listener


async def serve(
    state_dir: Path,
    listener: socket.socket,
    stop: asyncio.Event,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve clients on `listener` by the users of `state_dir` until `stop` is set.

    Raises:
        UsageError: the users file is broken.
    """
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    broker = EmbeddedBroker(listener, UsersWatch(users_path(state_dir)).changed, tls)
    await broker.start()
    host, port = listener.getsockname()[:2]
    logger.info("broker listening host=%s port=%d tls=%s", host, port, tls is not None)
    if not users_path(state_dir).exists():
        logger.warning("nobody may connect yet: no server has its state in %s", state_dir)
    try:
        while not await _is_set_within(stop, WATCH_S):
            await broker.refresh()
    finally:
        async with asyncio.timeout(_SHUTDOWN_S):
            await broker.shutdown()
        logger.info("broker stopped port=%d", port)


def run(state_dir: Path, host: str, port: int, tls: Tls | None = None) -> None:
    """Run the broker until SIGTERM, or SIGINT which then surfaces as KeyboardInterrupt.

    Raises:
        UsageError: the port is in use, the users file is broken, a file of `tls` is unusable, or
            the broker would be heard beyond this machine without TLS.
        KeyboardInterrupt: somebody pressed Ctrl-C; the broker is down.
    """
    check_listener(host, tls)
    context = None if tls is None else server_context(tls)
    listener = bind(host, port)
    try:
        received = asyncio.run(_until_signal(state_dir, listener, context))
    finally:
        listener.close()
    if signal.SIGINT in received:
        raise KeyboardInterrupt


async def _until_signal(
    state_dir: Path, listener: socket.socket, tls: ssl.SSLContext | None
) -> list[signal.Signals]:
    received: list[signal.Signals] = []
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    await serve(state_dir, listener, stop, tls)
    return received


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
