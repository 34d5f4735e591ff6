"""The loop that turns committed rows into verdicts, decisions, training jobs and desired states.

Laws:
- it looks at committed rows only, and asks the pure rules what they mean;
- each step is one transaction that reads, decides and writes, so that a kill at any instant leaves
  either nothing done or all of it, and the next look goes on from there;
- looking again without news changes nothing;
- a look that finds nothing to do takes no write lock, so that ingest is not held up; after it the
  loop rests three times as long as it looked: a large fleet costs a quarter of a core at the most;
- one process decides at a time: a step that writes checks its lease in the same transaction.
"""

import logging
import threading
from collections.abc import Callable

from sqlalchemy import Connection, select

from fleet_server.cars import silence
from fleet_server.erasure import erasing
from fleet_server.rollout import steering, withdrawing
from fleet_server.rollout.withdrawing import Withdrawn
from fleet_server.running.leases import Lease
from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Change, Database
from fleet_server.storage.tables import deployments
from fleet_server.training import asking, learning, watching
from shared.clock import Clock
from shared.errors import RetryLaterError

_SWEEP_US = 3_600_000_000
_ASK_US = 10_000_000
_RESTS = 3.0

logger = logging.getLogger(__name__)

Step = Callable[[Connection, str, int], Change | None]


class Control:
    """The loop over one database."""

    def __init__(
        self,
        database: Database,
        settings: ServerSettings,
        clock: Clock,
        lease: Lease | None = None,
        *,
        withdrawn: Callable[[], Withdrawn] = dict,
    ) -> None:
        """Decide by `settings`, for as long as `lease` is ours; without one nobody else decides.

        `withdrawn` says what the release owner took back.
        """
        self._ask_withdrawn = withdrawn
        self._withdrawn: Withdrawn = {}
        self._next_ask_us = 0
        self._database = database
        self._lease = lease
        self._clock = clock
        self._next_sweep_us = 0
        self._looked_s = 0.0
        self._interval_s = settings.control_interval_s
        rules, watched = learning.rules(settings), watching.rules(settings)
        silent_us = round(settings.heartbeat_silence_s * 1e6)
        manner = steering.Manner(
            strategy=settings.rollout_strategy,
            share=settings.rollout_share,
            deadline_us=round(settings.rollout_deadline_s * 1e6),
        )
        self._steps: tuple[Step, ...] = (
            lambda connection, name, now: withdrawing.follow(
                connection, name, now, self._withdrawn
            ),
            lambda connection, name, now: steering.begin(connection, name, now, manner),
            lambda connection, name, now: steering.move(connection, name, now, manner),
            steering.steer,
            lambda connection, name, now: watching.judge(connection, name, now, watched),
            lambda connection, name, now: learning.give_up(connection, name, now, rules),
            lambda connection, name, now: learning.train(connection, name, now, rules),
            lambda connection, name, now: asking.ask(connection, name, now, rules.training),
            lambda connection, name, now: silence.listen(connection, name, now, silent_us),
        )

    def run(self, stop: threading.Event) -> None:
        """Look, act and pause until `stop` is set.

        Raises:
            LeaseLostError: another process decides now.
        """
        while not stop.wait(max(self._interval_s, _RESTS * self._looked_s)):
            try:
                self.settle(stop)
                self._sweep()
            except RetryLaterError as error:
                logger.warning("control_waits reason=%r", str(error))

    def settle(self, stop: threading.Event) -> None:
        """Look and act until nothing is left to do or `stop` is set.

        Raises:
            RetryLaterError: the database cannot be used now.
        """
        while not stop.is_set() and self.look():
            pass

    def look(self) -> bool:
        """Do what is due in every deployment; tell whether anything changed.

        Raises:
            RetryLaterError: the database cannot be used now.
        """
        begun_us = self._clock.monotonic_us()
        if begun_us >= self._next_ask_us:
            self._next_ask_us = begun_us + _ASK_US
            self._withdrawn = self._ask_withdrawn()
        with self._database.read() as connection:
            names = connection.scalars(select(deployments.c.name).filter_by(status="active")).all()
        done = [self._take(step, name) for name in names for step in self._steps]
        # Last, so that one that has to wait holds nothing else up.
        done.append(erasing.step(self._database, self._clock))
        self._looked_s = (self._clock.monotonic_us() - begun_us) / 1e6
        return any(done)

    def _sweep(self) -> None:
        now = self._clock.monotonic_us()
        if now >= self._next_sweep_us:
            erasing.sweep(self._database, self._clock)
            self._next_sweep_us = now + _SWEEP_US

    def _take(self, step: Step, deployment: str) -> bool:
        now = self._clock.utc_us()
        with self._database.read() as connection:
            if step(connection, deployment, now) is None:
                return False
        with self._database.write() as connection:
            if self._lease is not None:
                self._lease.check(connection)
            # Decided anew under the write lock: what was read before may have changed since.
            act = step(connection, deployment, now)
            if act is None:
                return False
            act(connection)
        return True
