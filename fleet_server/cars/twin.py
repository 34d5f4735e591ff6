"""What cars report of themselves, taken into the database: presence, status, update steps.

Laws:
- which report counts is decided by `registry`; this module only reads and writes;
- a report of a car that is not enrolled, or is revoked, is refused and leaves nothing: a broker may
  hold what such a car once said, and say it again;
- each change of the model that a car reports as loaded is kept for ever;
- a car that holds a later wish than this database knows, which was then restored from an older
  copy, is told a wish that it takes.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Update, bindparam, insert, select, update

from fleet_server import logbook
from fleet_server.cars import registry
from fleet_server.rollout import rules
from fleet_server.storage import upsert
from fleet_server.storage.database import Database
from fleet_server.storage.tables import devices, model_history, update_events
from shared import codec
from shared.clock import Clock
from shared.errors import RefusedError
from shared.messages import Presence, Status, UpdateEvent
from shared.topics import Topic

logger = logging.getLogger(__name__)


_Said = Presence | Status | UpdateEvent


# Made once: to make a statement anew costs as much as to run it, and cars report all the time.
_CAR = select(devices).where(devices.c.name == bindparam("car"))


@cache
def _changing(*names: str) -> Update:
    """Return the statement that sets the columns `names` of the row `row`."""
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return update(devices).where(devices.c.id == bindparam("row")).values(values)


class Report(NamedTuple):
    """What came on `device`'s topic of kind `row`."""

    row: Topic
    device: str
    body: bytes


class Twin:
    """Takes reports into the database. Used by one thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Store into `database`."""
        self._database = database
        self._clock = clock

    def take(self, row: Topic, device: str, body: bytes) -> None:
        """Store the report in `body`, received on `device`'s topic of kind `row`.

        Raises:
            RefusedError: it is malformed, names another car, or the car is not enrolled or
                is revoked.
            RetryLaterError: the database cannot store now; nothing was changed.
        """
        (refusal,) = self.take_all([Report(row, device, body)])
        if refusal is not None:
            raise refusal

    def take_all(self, reports: Sequence[Report]) -> list[RefusedError | None]:
        """Store reports in one transaction, in their order; return why each was refused, or None.

        A commit costs as much as twenty reports: a fleet of ten thousand, each of which reports
        every five seconds, is heard only by those who take together what came together.

        Raises:
            RetryLaterError: the database cannot store now; nothing was changed.
        """
        said = [_said(each) for each in reports]
        refusals = [each if isinstance(each, RefusedError) else None for each in said]
        if all(refusals):
            return refusals  # What is malformed takes no lock.
        with self._database.write() as connection:
            for place, message in enumerate(said):
                if not isinstance(message, RefusedError):
                    refusals[place] = self._store(connection, message)
        return refusals

    def _store(self, connection: Connection, message: _Said) -> RefusedError | None:
        """Store what a car said; return why it was refused, which changed nothing."""
        device = message.device
        found = connection.execute(_CAR, {"car": device}).one_or_none()
        if found is None or found.state == "revoked":
            return RefusedError(f"{'unknown' if found is None else 'revoked'} device {device}")
        if isinstance(message, Presence):
            self._presence(connection, found, message)
        elif isinstance(message, Status):
            self._status(connection, found, message)
        else:
            self._update_event(connection, found, message)
        return None

    def _presence(self, connection: Connection, row: Row[Any], said: Presence) -> None:
        if not registry.accepts_presence(_known(row), said):
            return
        # A last will speaks for the connection that ended; the boot known may be newer than it.
        boot = max(said.boot, row.boot or "")
        seen = {"online": said.online, "boot": boot, "connection": said.connection}
        self._change(connection, row, seen)
        logger.info("presence device=%s online=%s boot=%s", row.name, said.online, said.boot)

    def _status(self, connection: Connection, row: Row[Any], said: Status) -> None:
        if not registry.accepts_status(_known(row), said):
            return
        body = msgspec.json.encode(said).decode()
        seen = {"boot": said.boot, "loaded": said.loaded, "status": body}
        self._change(connection, row, seen)
        if registry.is_model_change(_known(row), said):
            connection.execute(
                insert(model_history).values(
                    device=row.name,
                    model=said.loaded,
                    release_seq=said.loaded_release_seq,
                    since_utc_us=self._clock.utc_us(),
                )
            )
            logger.info("model_loaded device=%s model=%s", row.name, said.loaded)

        self._overtake(connection, row, said)

    def _overtake(self, connection: Connection, row: Row[Any], said: Status) -> None:
        now = self._clock.utc_us()
        current = logbook.current_desired(connection, row.name)
        held = (said.desired_epoch, said.desired_revision)
        epoch = rules.epoch_after(held, current, utc_us=now)
        if epoch is None:
            return
        reason = f"{row.name} holds a later wish: was this database restored from an older copy?"
        logger.error("wish_overtaken device=%s held=%s reason=%r", row.name, held, reason)
        decision = logbook.write(
            connection, utc_us=now, deployment=row.deployment, kind="overtake", reason=reason
        )
        logbook.set_desired(
            connection,
            row.name,
            deployment=row.deployment,
            decision=decision,
            utc_us=now,
            epoch=epoch,
        )

    def _update_event(self, connection: Connection, row: Row[Any], said: UpdateEvent) -> None:
        connection.execute(
            upsert.insert(connection, update_events)
            .values(
                device=row.name,
                boot=said.boot,
                number=said.number,
                received_utc_us=self._clock.utc_us(),
                body=msgspec.msgpack.encode(said),
            )
            .on_conflict_do_nothing()
        )
        step = {"update_event": msgspec.json.encode(said).decode()}
        self._change(connection, row, step)
        logger.info("update device=%s state=%s reason=%r", row.name, said.state, said.reason)

    def _change(self, connection: Connection, row: Row[Any], values: dict[str, Any]) -> None:
        heard = {"last_seen_utc_us": self._clock.utc_us(), "silent_since_utc_us": None}
        changed = {**values, **heard}
        connection.execute(_changing(*changed), {"row": row.id, **changed})


def _said(report: Report) -> _Said | RefusedError:
    """Return what a report says, or why it says nothing."""
    try:
        message = codec.decode_on(report.row, report.body)
        if not isinstance(message, Presence | Status | UpdateEvent):
            return RefusedError(f"{report.row.name} is no report of a car's state")
        registry.check_speaker(message, report.device)
    except RefusedError as error:
        return error
    return message


def _known(row: Row[Any]) -> registry.Known:
    return registry.Known(
        boot=row.boot, connection=row.connection, online=row.online, loaded=row.loaded
    )
