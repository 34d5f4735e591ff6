"""One fleet server process: its parts, put together, started and stopped.

Laws:
- every part that can fail for a person's mistake does so before anything is served;
- parts (`parts`) run in threads of their own beside the web server; a part that dies takes the
  process down with it, so that a supervisor sees it and nothing works by halves;
- SIGTERM and SIGINT end everything within seconds; whatever was committed stays.
"""

import errno
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from fleet_server import console
from fleet_server.api.app import create_app, create_probes
from fleet_server.api.context import Context
from fleet_server.broker import users
from fleet_server.ingest.quota import Quota
from fleet_server.ingest.taking import Ingest
from fleet_server.releases.online import OnlineRepository
from fleet_server.rollout import registration
from fleet_server.running import parts
from fleet_server.running.leases import LeaseLostError
from fleet_server.running.web import Web
from fleet_server.settings import Role, ServerSettings
from fleet_server.storage.opening import open_database
from fleet_server.storage.quarantine import Budget
from shared.clock import Clock
from shared.errors import UsageError
from shared.mqtt import Address, tls_context
from shared.signing import SigningKey

logger = logging.getLogger(__name__)


_WITH_REST = ("all", "api")
_JOIN_S = 10.0
_GRACE_S = 3
# The network thread takes a message in several small reads, and waits for this long after each one
# while another thread computes: with Python's 5 ms that halved what ingest takes in.
_SWITCH_S = 0.0005
_GARBAGE = 100_000
"""Objects more than before, after which Python looks for cycles: some dozen batches."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """The parts of one process."""

    context: Context
    ingest: Ingest
    address: Address
    role: Role


@contextmanager
def opened(state: Path, settings: ServerSettings, clock: Clock, role: Role) -> Iterator[Server]:
    """Give the server whose state folder is `state`, its database migrated.

    Raises:
        UsageError: the folder, the database, a key, a certificate or the broker's users file is
            unusable.
    """
    certificate = _certificate(settings)
    if settings.broker_ca_file is not None:
        tls_context(settings.broker_ca_file, certificate)
    database = open_database(state, settings, clock)
    try:
        key = SigningKey.load_or_create(state / "keys" / "server.key")
        own = users.ensure_server_user(state)
        repository = OnlineRepository.open(state, clock)
        registration.reconcile(database, repository, clock)
        budget = Budget(
            car_bytes=settings.quarantine_car_bytes, all_bytes=settings.quarantine_bytes
        )
        quota = Quota(size_bytes=settings.quota_bytes, rows=settings.quota_rows)
        ingest = Ingest(database, key, clock, budget, quota)
        yield Server(
            context=Context(
                state=state,
                settings=settings,
                database=database,
                repository=repository,
                key=key,
                clock=clock,
                outcomes=ingest.outcomes,
            ),
            ingest=ingest,
            address=Address(
                host=settings.broker_host,
                port=settings.broker_port,
                user=own.user,
                password=own.secret,
                ca_file=settings.broker_ca_file,
                certificate=certificate,
            ),
            role=role,
        )
    finally:
        database.close()


def _certificate(settings: ServerSettings) -> tuple[str, str] | None:
    certificate, key = settings.broker_cert_file, settings.broker_key_file
    if certificate and key:
        return certificate, key
    if certificate or key:
        raise UsageError("settings: broker_cert_file and broker_key_file go together")
    return None


def require_address(settings: ServerSettings, role: Role) -> None:
    """Return quietly where a server can listen as `settings` say, before anything is made for it.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
    """
    listener = _listen(settings, role)
    if listener is not None:
        listener.close()


def serve(server: Server) -> bool:
    """Serve until SIGTERM or SIGINT; return False where a part died of its own.

    Raises:
        UsageError: the port is taken.
        KeyboardInterrupt: SIGINT came.
    """
    sys.setswitchinterval(_SWITCH_S)
    # What is loaded stays loaded: looking through it again for every few batches costs a tenth.
    gc.freeze()
    gc.set_threshold(_GARBAGE, 50, 100)
    stop, died = server.context.stopping, threading.Event()
    listener = _listen(server.context.settings, server.role)
    threads = [_thread(name, part, stop, died) for name, part in _parts(server)]

    def begin() -> None:
        for thread in threads:
            thread.start()
        logger.info("running role=%s", server.role)

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {each: signal.signal(each, end) for each in (signal.SIGTERM,)}
    try:
        if listener is None:
            begin()
            stop.wait()
        else:
            web = _web(server, begin)
            host, port = listener.getsockname()[:2]
            logger.info("serving url=http://%s:%d", host, port)
            threading.Thread(target=_relay, args=(stop, web), name="stop", daemon=True).start()
            web.run(sockets=[listener])
            if web.is_interrupted:
                # uvicorn sends itself the signal again, and Python may lose what that raises.
                raise KeyboardInterrupt
    finally:
        stop.set()
        for thread in threads:
            if thread.is_alive():
                thread.join(_JOIN_S)
        if listener is not None:
            listener.close()
        for each, handler in before.items():
            signal.signal(each, handler)
    return not died.is_set()


def application(server: Server) -> FastAPI:
    """Return the web application with the console on it, or what stands in for it by the role."""
    if server.role not in _WITH_REST:
        return create_probes(server.context)
    app = create_app(server.context)
    console.mount(app, server.context)
    return app


def _parts(server: Server) -> Iterator[parts.Part]:
    match server.role:
        case "all":
            return parts.all_parts(server.context, server.ingest, server.address)
        case "ingest":
            return parts.ingest_parts(server.context, server.ingest, server.address)
        case "control":
            return parts.control_parts(server.context, server.address)
        case "api":
            return parts.api_parts(server.context, server.address)


def _thread(
    name: str,
    part: parts.Run,
    stop: threading.Event,
    died: threading.Event,
) -> threading.Thread:
    def run() -> None:
        try:
            part(stop)
        except (UsageError, LeaseLostError) as error:
            logger.critical("part_ends part=%s reason=%r", name, str(error))
        finally:
            # A part returns only when it is told to; Python itself prints what killed it.
            if not stop.is_set():
                logger.critical("part_died part=%s", name)
                died.set()
                stop.set()

    return threading.Thread(target=run, name=name)


def _relay(stop: threading.Event, web: Web) -> None:
    """Tell the web server, which waits for signals only, that another part wants to stop."""
    stop.wait()
    web.should_exit = True


def _web(server: Server, begin: Callable[[], None]) -> Web:
    return Web(
        uvicorn.Config(
            application(server),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE_S,
            server_header=False,
        ),
        server.context.stopping,
        begin,
    )


def _listen(settings: ServerSettings, role: Role) -> socket.socket | None:
    """Return a socket that is bound already, so that a taken port is found before all else."""
    port = settings.port if role in _WITH_REST else settings.probe_port
    if port is None:
        return None
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        option = "--port" if role in _WITH_REST else "--probe-port"
        remedy = (
            f"stop what listens there or choose another {option}"
            if error.errno == errno.EADDRINUSE
            else f"choose another --host or {option}"
        )
        raise UsageError(
            f"cannot listen on {settings.host}:{port}: {error.strerror}; {remedy}"
        ) from None
    return listener
