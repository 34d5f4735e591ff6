"""What one process of the server does, by its role, each part to be run in a thread of its own.

    role      REST, pages   batches                      reports, wishes, orders; control loop
    all       yes           all                          if no other process does
    api       yes           -                            -
    ingest    -             shared with other `ingest`   -
    control   -             -                            if no other process does

Laws:
- batches alone are shared; everything else at the broker is one process's, which holds a lease;
- each connection has a name of its own at the broker: that of its user;
- a second control process waits until the first has ended;
- where pages are served, live values are listened to, by one process at a time.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from fleet_server.api.context import Context
from fleet_server.broker.users import CONSOLE, CONTROL, INGESTS, ingest_name, server_user
from fleet_server.ingest.taking import Ingest
from fleet_server.running import leases
from fleet_server.running.bridge import Bridge, Receiving
from fleet_server.running.consoles import Consoles
from fleet_server.running.control import Control
from fleet_server.running.herald import Herald
from fleet_server.running.leases import Lease
from fleet_server.running.listening import Listening
from fleet_server.storage.claims import Claim
from fleet_server.telling.channels import channels, webhook_key
from fleet_server.telling.teller import Teller
from fleet_server.telling.watch import Watch
from shared.errors import RetryLaterError, UsageError
from shared.mqtt import Address, Connection

logger = logging.getLogger(__name__)

Run = Callable[[threading.Event], None]
Part = tuple[str, Run]

_JOIN_S = 8.0
_CLAIM_S = 2.0


def all_parts(context: Context, ingest: Ingest, address: Address) -> Iterator[Part]:
    """Yield the parts of a process that does everything."""
    yield "ingest", Bridge(_connection(context, address), Receiving(ingest), context.clock).run
    yield "control", _leading(context, address)
    yield "live", _listening(context, address)


def api_parts(context: Context, address: Address) -> Iterator[Part]:
    """Yield the part of a process that serves REST and pages."""
    yield "live", _listening(context, address)


def control_parts(context: Context, address: Address) -> Iterator[Part]:
    """Yield the part of a control process."""
    yield "control", _leading(context, address)


def ingest_parts(context: Context, ingest: Ingest, address: Address) -> Iterator[Part]:
    """Yield the parts of one ingest process, under the first number that is free.

    Raises:
        UsageError: there are as many ingest processes as there may be.
        RetryLaterError: the database cannot be used now.
    """
    taken = leases.take_ingest(context.database, context.clock)
    if taken is None:
        raise UsageError(f"{INGESTS} ingest processes run on this database already")
    number, lease = taken
    user = server_user(ingest_name(number))
    logger.info("ingest number=%d user=%s", number, user)
    connection = _connection(context, replace(address, user=user))
    yield "ingest", Bridge(connection, Receiving(ingest, number=number), context.clock).run
    yield "lease", lambda stop: _watch(context, lease, stop)


def _connection(context: Context, address: Address) -> Connection:
    made = Connection(address)
    context.connections.append(made)
    return made


def _listening(context: Context, address: Address) -> Run:
    """Return what listens to live values once no other process does."""

    def run(stop: threading.Event) -> None:
        claim = _claim(context)
        while claim is None:
            if stop.wait(_CLAIM_S):
                return
            claim = _claim(context)
        connection = _connection(context, replace(address, user=server_user(CONSOLE)))
        try:
            Listening(connection, context.live, context.clock).run(stop)
        finally:
            claim.release()

    return run


def _claim(context: Context) -> Claim | None:
    try:
        return context.database.claim(CONSOLE)
    except RetryLaterError:
        return None


def _leading(context: Context, address: Address) -> Run:
    """Return what waits for the lease of control and then does what it allows."""

    def run(stop: threading.Event) -> None:
        lease = leases.wait(context.database, CONTROL, context.clock, stop)
        if lease is None:
            return
        herald = Herald(
            database=context.database,
            repository=context.repository,
            consoles=Consoles(context.state, context.database, context.key, context.clock),
            key=context.key,
            clock=context.clock,
        )
        control = Control(
            context.database,
            context.settings,
            context.clock,
            lease,
            withdrawn=context.repository.withdrawn,
        )
        connection = _connection(context, replace(address, user=server_user(CONTROL)))
        run_together(
            [
                ("herald", Bridge(connection, herald, context.clock).run),
                ("teller", _teller(context).run),
                ("loop", control.run),
                ("lease", lambda inner: _watch(context, lease, inner)),
            ],
            stop,
        )

    return run


def _teller(context: Context) -> Teller:
    watch = Watch(context.database, context.repository, context.settings, context.clock)
    ways = channels(context.settings, webhook_key(context.state))
    return Teller(context.database, watch, ways, context.clock)


def run_together(parts: list[Part], stop: threading.Event) -> None:
    """Run `parts` until `stop` is set or one of them ends; then end all, and raise what one raised.

    Raises:
        Exception: whatever the first part that failed raised.
    """
    inner = threading.Event()
    failures: list[Exception] = []

    def guarded(run: Run) -> None:
        try:
            run(inner)
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)
        finally:
            inner.set()

    threads = [threading.Thread(target=guarded, args=(run,), name=name) for name, run in parts]
    for thread in threads:
        thread.start()
    while not inner.wait(0.2):
        if stop.is_set():
            inner.set()
    for thread in threads:
        thread.join(_JOIN_S)
    if failures:
        raise failures[0]


def _watch(context: Context, lease: Lease, stop: threading.Event) -> None:
    try:
        lease.watch(context.database, stop)
    finally:
        lease.claim.release()
