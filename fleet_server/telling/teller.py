"""Tells people of alerts, in a thread of its own that nobody waits for.

Laws:
- every open alert, and every one of the last hour, is told over every channel; the row that says so
  is committed after the telling, so that a kill in between tells twice and never not at all;
- a channel that hangs costs its own time-out, once a turn however much waits for it, and stops
  nothing else: other channels, ingest, the control loop and REST go on;
- a channel that was taken out of the settings is told nothing more.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select, update

from fleet_server.storage.database import Database
from fleet_server.storage.pages import fields
from fleet_server.storage.report_tables import alerts as alert_rows
from fleet_server.storage.report_tables import deliveries
from fleet_server.storage.upsert import insert
from fleet_server.telling import alerts, rules
from fleet_server.telling.rules import Channel
from fleet_server.telling.watch import Watch
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError, UsageError

logger = logging.getLogger(__name__)

_TURN_S = 1.0
_LOOK_US = 5_000_000
_RECENT_US = 3_600_000_000
_MOST = 100


@dataclass(frozen=True, kw_only=True)
class Due:
    """A delivery whose time has come."""

    id: int
    alert: int
    channel: str
    attempts: int


class Teller:
    """Watches for what people should know, and tells them; see `run`."""

    def __init__(
        self, database: Database, watch: Watch, channels: Sequence[Channel], clock: Clock
    ) -> None:
        """Tell over `channels` what `watch` raises."""
        self._database = database
        self._watch = watch
        self._channels = {channel.name: channel for channel in channels}
        self._clock = clock
        self._next_look_us = 0

    def run(self, stop: threading.Event) -> None:
        """Look and tell until `stop` is set."""
        while not stop.wait(_TURN_S):
            try:
                self.turn(stop)
            except RetryLaterError as error:
                logger.warning("teller_waits reason=%r", str(error))

    def turn(self, stop: threading.Event) -> None:
        """Look where it is time to, and tell what is due.

        Raises:
            RetryLaterError: the database cannot be used now.
        """
        now = self._clock.monotonic_us()
        if now >= self._next_look_us:
            self._next_look_us = now + _LOOK_US
            self._watch.look()
        self._plan()
        failed: set[str] = set()
        for due in self._due():
            if stop.is_set():
                return
            if due.channel not in failed and not self._deliver(due):
                failed.add(due.channel)

    def _plan(self) -> None:
        """Enter a delivery for each alert and channel that has none yet."""
        now = self._clock.utc_us()
        with self._database.read() as connection:
            missing = {name: _untold(connection, name, now) for name in self._channels}
        if not any(missing.values()):
            return
        with self._database.write() as connection:
            for name, numbers in missing.items():
                for number in numbers:
                    connection.execute(
                        insert(connection, deliveries)
                        .values(alert=number, channel=name, due_utc_us=now)
                        .on_conflict_do_nothing()
                    )

    def _due(self) -> list[Due]:
        query = select(deliveries).where(
            deliveries.c.delivered_utc_us.is_(None),
            deliveries.c.given_up_utc_us.is_(None),
            deliveries.c.due_utc_us <= self._clock.utc_us(),
            deliveries.c.channel.in_(list(self._channels)),
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(deliveries.c.due_utc_us).limit(_MOST)).all()
        return [Due(**fields(row, Due)) for row in rows]

    def _deliver(self, due: Due) -> bool:
        """Tell what is due, and note how it went; return whether the channel works."""
        (alert,) = alerts.listed(self._database, number=due.alert)
        attempts = due.attempts + 1
        now = self._clock.utc_us()
        try:
            self._channels[due.channel].tell(alert, now)
        except RefusedError as error:
            self._note(due, attempts=attempts, given_up_utc_us=now, problem=str(error))
        except (RetryLaterError, UsageError) as error:
            given_up = now if rules.is_hopeless(alert.utc_us, now) else None
            later = now + rules.pause_us(attempts)
            self._note(
                due,
                attempts=attempts,
                due_utc_us=later,
                given_up_utc_us=given_up,
                problem=str(error),
            )
            return False
        else:
            self._note(due, attempts=attempts, delivered_utc_us=now, problem="")
        return True

    def _note(self, due: Due, **values: int | str | None) -> None:
        with self._database.write() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == due.id).values(**values))
        logger.info(
            "alert_told alert=%d channel=%s attempts=%s problem=%r",
            *(due.alert, due.channel, values["attempts"], values["problem"]),
        )


def _untold(connection: Connection, channel: str, now_utc_us: int) -> Sequence[int]:
    """Return the alerts that people should be told of and nobody planned to, over `channel`."""
    planned = select(deliveries.c.alert).where(deliveries.c.channel == channel)
    wanted = or_(
        alert_rows.c.ended_utc_us.is_(None), alert_rows.c.utc_us >= now_utc_us - _RECENT_US
    )
    query = select(alert_rows.c.id).where(wanted, alert_rows.c.id.not_in(planned))
    return connection.scalars(query.order_by(alert_rows.c.id).limit(_MOST)).all()
