"""What the control process does for people's own consoles: names their keys to cars, and writes
down what they order.

Laws:
- cars are told all operators' keys in one signed, retained message, anew on every connection and
  whenever the users file changed: nobody else says whose orders count;
- an order that an operator's console signs reaches the car without the server; where the server
  hears it, the log book has it, once, whatever becomes of it;
- what is signed by nobody who may order is refused, here as by the car.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from fleet_server import logbook
from fleet_server.broker.stamp import Stamp
from fleet_server.broker.users import read_all, users_path
from fleet_server.running.bridge import Outgoing
from fleet_server.storage.database import Database
from shared.clock import Clock
from shared.errors import RefusedError, UsageError
from shared.messages import Command, CommandResult, OperatorKey, Operators
from shared.mqtt_events import Received
from shared.signing import SigningKey, VerifyKey, open_envelope_of, seal
from shared.topics import COMMAND, OPERATORS

logger = logging.getLogger(__name__)

REASON = "ordered at a terminal console"

_REMEMBERED = 1000


class Consoles:
    """The operators' keys, and the orders that they signed."""

    def __init__(self, state: Path, database: Database, key: SigningKey, clock: Clock) -> None:
        """Read the users file of `state`; sign by `key`; write into the log book of `database`."""
        self._path = users_path(state)
        self._database = database
        self._key = key
        self._clock = clock
        self._keys: tuple[OperatorKey, ...] = ()
        self._heard: OrderedDict[tuple[str, str, int], str] = OrderedDict()
        self.forget_published()

    def forget_published(self) -> None:
        """Take the broker for empty."""
        self._stamp = Stamp(self._path)

    def news(self) -> Iterator[Outgoing]:
        """Return the operators' keys where they may have changed."""
        if not self._stamp.is_new() or not self._path.exists():
            return
        try:
            users = read_all(self._path)
        except UsageError as error:
            logger.warning("the last good operators stay in force: %s", error)
            return
        self._keys = users.operator_keys
        said = Operators(revision=users.keys_revision, utc_us=self._clock.utc_us(), keys=self._keys)
        topic = OPERATORS.topic()
        yield Outgoing(topic=topic, body=seal(said, topic=topic, key=self._key), retained=True)
        logger.info("operators_published revision=%d number=%d", said.revision, len(said.keys))

    def heard(self, message: Received) -> None:
        """Write down an operator's order; the server's own are in the log book already.

        Raises:
            RefusedError: it is signed by nobody who may order that, or is malformed.
            RetryLaterError: the database cannot store now.
        """
        parts = COMMAND.parts(message.topic) or {}
        command, signer = open_envelope_of(
            COMMAND,
            message.payload,
            topic=message.topic,
            message_type=Command,
            keys=(self._key.public, *self._keys_of(parts["actor"])),
        )
        if (command.device, command.actor) != (parts["id"], parts["actor"]):
            raise RefusedError(f"an order of {command.actor} on a topic of {parts['actor']}")
        order = (command.device, command.actor, command.number)
        if signer.key_id == self._key.public.key_id or order in self._heard:
            return
        self._write(command)
        self._heard[order] = command.verb
        if len(self._heard) > _REMEMBERED:
            self._heard.popitem(last=False)

    def answered(self, result: CommandResult) -> bool:
        """Tell whether `result` answers an order that a console gave by itself."""
        verb = self._heard.get((result.device, result.actor, result.number))
        if verb is None:
            return False
        logger.info(
            "console_order_answered device=%s actor=%s verb=%s outcome=%s",
            *(result.device, result.actor, verb, result.outcome),
        )
        return True

    def _keys_of(self, actor: str) -> tuple[VerifyKey, ...]:
        now_us = self._clock.utc_us()
        return tuple(
            VerifyKey(each.public_key)
            for each in self._keys
            if each.name == actor and now_us < each.until_utc_us
        )

    def _write(self, command: Command) -> None:
        with self._database.write() as connection:
            logbook.write(
                connection,
                utc_us=self._clock.utc_us(),
                deployment=logbook.deployment_of(connection, command.device),
                kind="command",
                reason=REASON,
                actor=command.actor,
                evidence={
                    "device": command.device,
                    "verb": command.verb,
                    "arguments": dict(command.arguments),
                    "number": command.number,
                },
            )
        logger.info(
            "console_order device=%s actor=%s verb=%s",
            *(command.device, command.actor, command.verb),
        )
