"""Orders of operators to single cars: entered, signed and said once, answered, kept.

Laws:
- an order and its entry in the log book are one transaction, and it names the boot and connection
  last seen, which the operator saw too: a car that has started anew refuses it;
- its number is its row's id, so no two orders share one, whoever gives them;
- it is taken for sent before it is said: a kill in between loses it, which is seen as unanswered,
  and gives no order twice; what could not be said within `SEND_US` is never said;
- the first answer counts; `stop` is entered for a car that is not reachable too, all others not.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from fleet_server import logbook
from fleet_server.storage.database import Database
from fleet_server.storage.fleet_tables import commands
from fleet_server.storage.tables import devices
from shared.clock import Clock
from shared.errors import RefusedError
from shared.messages import Command, CommandResult, Texts
from shared.signing import SigningKey, seal
from shared.topics import COMMAND

Verb = Literal["park", "stop", "sync", "pictures", "selftest", "identify"]

SEND_US = 10_000_000
"""How long an order may wait for the broker: the operator still stands there."""

ANSWER_US = 30_000_000
"""How long an answer may take; a late one still counts."""

SELFTEST_US = 180_000_000
"""How long that of a self-test may take, which works through all instruments."""

_ARGUMENT_BYTES = COMMAND.limit_bytes // 2
"""What leaves room for the rest of an order, which a broker drops where it is longer than the topic
table allows."""

_LOOK_US = 100_000
_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class CommandView:
    """One order. `state` is waiting, sent, done, refused, failed, unanswered or expired.

    `reason` says why it was refused or failed; `decision` is the entry in the log book.
    """

    id: int
    device: str
    actor: str
    verb: str
    arguments: dict[str, str]
    boot: str
    connection: int
    decision: int
    utc_us: int
    sent_utc_us: int | None
    state: str
    reason: str
    ended_utc_us: int | None


@dataclass(frozen=True, kw_only=True)
class Order:
    """A signed command as it is published, once, not retained."""

    topic: str
    body: bytes


def order(
    connection: Connection,
    *,
    device: str,
    actor: str,
    verb: Verb,
    arguments: dict[str, str],
    reason: str,
    utc_us: int,
) -> int:
    """Enter an order for `device` in the open transaction; return its number.

    The broker is told by whoever publishes for this fleet, within a second. `reason` goes into the
    log book.

    Raises:
        RefusedError: no such car, or it is not confirmed, was never seen, or is not reachable and
            this is no `stop`; or the arguments are no short texts.
    """
    car = connection.execute(select(devices).filter_by(name=device)).one_or_none()
    refusal = _refusal(car, device, verb)
    if car is None or refusal:
        raise RefusedError(refusal)
    try:
        checked = msgspec.convert(arguments, Texts)
    except msgspec.ValidationError as error:
        raise RefusedError(f"arguments: {error}"[:200]) from None
    size_bytes = len(msgspec.msgpack.encode(checked))
    if size_bytes > _ARGUMENT_BYTES:
        raise RefusedError(f"arguments: {size_bytes} bytes, at most {_ARGUMENT_BYTES}")
    decision = logbook.write(
        connection,
        utc_us=utc_us,
        deployment=car.deployment,
        kind="command",
        reason=reason,
        actor=actor,
        evidence={"device": device, "verb": verb, "arguments": checked},
    )
    values = {
        "device": device,
        "actor": actor,
        "verb": verb,
        "arguments": msgspec.json.encode(checked).decode(),
        "boot": car.boot,
        "connection": car.connection,
        "decision": decision,
        "utc_us": utc_us,
    }
    return int(
        connection.execute(insert(commands).values(values).returning(commands.c.id)).scalar_one()
    )


def find(connection: Connection, number: int) -> CommandView | None:
    """Return the order of that number, or None."""
    row = connection.execute(select(commands).filter_by(id=number)).one_or_none()
    return None if row is None else _view(row)


def listed(
    connection: Connection, *, device: str | None = None, after: int = 0, limit: int = 100
) -> tuple[CommandView, ...]:
    """Return orders with numbers above `after`, oldest first, of one car or of all."""
    query = select(commands).where(commands.c.id > after).order_by(commands.c.id).limit(limit)
    if device is not None:
        query = query.filter_by(device=device)
    return tuple(_view(row) for row in connection.execute(query))


def newest(connection: Connection, device: str, *, limit: int) -> tuple[CommandView, ...]:
    """Return a car's last orders, the newest first."""
    query = select(commands).filter_by(device=device).order_by(commands.c.id.desc()).limit(limit)
    return tuple(_view(row) for row in connection.execute(query))


def wait(database: Database, clock: Clock, number: int, *, timeout_s: float) -> CommandView | None:
    """Return the order once it was answered, or as it is after `timeout_s`; None if there is none.

    Raises:
        RetryLaterError: the database cannot be used now.
    """
    deadline_us = clock.monotonic_us() + round(timeout_s * 1e6)
    while True:
        with database.read() as connection:
            view = find(connection, number)
        now_us = clock.monotonic_us()
        if view is None or view.ended_utc_us is not None or now_us >= deadline_us:
            return view
        clock.sleep_until_us(min(now_us + _LOOK_US, deadline_us))


def due(database: Database, key: SigningKey, clock: Clock) -> list[Order]:
    """Return what is to be published now, taken for sent; also end what has waited too long.

    Raises:
        RetryLaterError: the database cannot be used now; nothing was taken for sent.
    """
    now = clock.utc_us()
    with database.read() as connection:
        ended, fresh = _due(connection, now)
    if not ended and not fresh:
        return []
    with database.write() as connection:
        ended, fresh = _due(connection, now)
        for number, (outcome, reason) in ended.items():
            _end(connection, number, outcome, reason, now)
        numbers = [row.id for row in fresh]
        connection.execute(
            update(commands).where(commands.c.id.in_(numbers)).values(sent_utc_us=now)
        )
    return [_sealed(row, key) for row in fresh]


def take_result(connection: Connection, result: CommandResult, *, utc_us: int) -> None:
    """Note a car's answer in the open transaction.

    Raises:
        RefusedError: that order was never sent to that car, or was answered already.
    """
    row = connection.execute(select(commands).filter_by(id=result.number)).one_or_none()
    if row is None or (row.device, row.actor) != (result.device, result.actor):
        raise RefusedError(f"{result.device} answers a command that it was not given")
    if row.sent_utc_us is None or row.outcome not in (None, "unanswered"):
        raise RefusedError(f"command {row.id} of {row.device} waits for no answer")
    _end(connection, row.id, result.outcome, result.reason, utc_us)


def _refusal(car: Row[Any] | None, device: str, verb: Verb) -> str:
    if car is None:
        return f"no car is called {device}"
    if car.state != "confirmed":
        return f"{device} is {car.state}"
    if car.boot is None:
        return f"{device} was never connected"
    if not car.online and verb != "stop":
        return f"{device} is not connected; only stop is said all the same"
    return ""


def _due(
    connection: Connection, now_utc_us: int
) -> tuple[dict[int, tuple[str, str]], list[Row[Any]]]:
    """Return how orders end that waited too long, by number, and those that are to be said."""
    # What was not said yet comes first, however many wait for an answer.
    order_by = (commands.c.sent_utc_us.is_not(None), commands.c.id)
    query = select(commands).where(commands.c.outcome.is_(None)).order_by(*order_by).limit(_PAGE)
    rows = connection.execute(query).all()
    ended = {row.id: end for row in rows if (end := _overdue(row, now_utc_us))}
    return ended, [row for row in rows if row.id not in ended and row.sent_utc_us is None]


def _overdue(row: Row[Any], now_utc_us: int) -> tuple[str, str] | None:
    if row.sent_utc_us is None:
        late = now_utc_us - row.utc_us > SEND_US
        return ("expired", "the broker was not reached in time") if late else None
    patience_us = SELFTEST_US if row.verb == "selftest" else ANSWER_US
    late = now_utc_us - row.sent_utc_us > patience_us
    return ("unanswered", "the car did not answer") if late else None


def _end(connection: Connection, number: int, outcome: str, reason: str, utc_us: int) -> None:
    values = {"outcome": outcome, "reason": reason, "ended_utc_us": utc_us}
    connection.execute(update(commands).where(commands.c.id == number).values(values))


def _sealed(row: Row[Any], key: SigningKey) -> Order:
    topic = COMMAND.topic(id=row.device, actor=row.actor)
    command = Command(
        device=row.device,
        actor=row.actor,
        boot=row.boot,
        connection=row.connection,
        number=row.id,
        verb=row.verb,
        arguments=msgspec.json.decode(row.arguments, type=dict[str, str]),
    )
    return Order(topic=topic, body=seal(command, topic=topic, key=key))


def _view(row: Row[Any]) -> CommandView:
    return CommandView(
        id=row.id,
        device=row.device,
        actor=row.actor,
        verb=row.verb,
        arguments=msgspec.json.decode(row.arguments, type=dict[str, str]),
        boot=row.boot,
        connection=row.connection,
        decision=row.decision,
        utc_us=row.utc_us,
        sent_utc_us=row.sent_utc_us,
        state=row.outcome or ("waiting" if row.sent_utc_us is None else "sent"),
        reason=row.reason,
        ended_utc_us=row.ended_utc_us,
    )
