"""The orders that a console gives, and what becomes of each.

Laws:
- an order names the boot and the connection that the person saw: a car that has started anew since
  refuses it;
- no number comes twice, also after a restart of the console: they are moments, each above the last;
- a car that is not connected is given no order but `stop`, and a viewer gives none;
- an order that is not answered in time is shown as unanswered; a late answer still counts.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import msgspec

from fleet_server.cars.registry import Known
from shared.errors import RefusedError
from shared.ids import DeviceName
from shared.messages import Command, CommandResult, Texts

Verb = Literal["stop", "sync", "selftest", "identify", "park", "pictures"]
VERBS: tuple[Verb, ...] = get_args(Verb)

ANSWER_US = 30_000_000
SELFTEST_US = 180_000_000
"""How long an answer may take, as on the server (`fleet_server.cars.commanding`)."""

KEPT = 200


@dataclass(frozen=True, kw_only=True)
class Order:
    """One order. `outcome` is sent, done, refused, failed or unanswered."""

    number: int
    device: DeviceName
    verb: Verb
    given_us: int
    outcome: str = "sent"
    reason: str = ""


class Orders:
    """All orders of one console, the newest `KEPT`."""

    def __init__(self, *, own: str, may_order: bool) -> None:
        """Give orders as `own`, or none."""
        self._own = own
        self.may_order = may_order
        self._last = 0
        self._given: dict[int, Order] = {}

    def give(
        self,
        *,
        device: str,
        known: Known,
        verb: str,
        arguments: dict[str, str],
        utc_us: int,
        now_us: int,
    ) -> Command:
        """Return the command to sign and send.

        Raises:
            RefusedError: this console gives none, the car cannot be given that one now, or it is no
                order of ours.
        """
        if not self.may_order:
            raise RefusedError("a viewer's console watches and gives no orders")
        if verb not in VERBS:
            raise RefusedError(f"no order {verb[:20]!r}: {', '.join(VERBS)}")
        if known.boot is None:
            raise RefusedError(f"{device} was never connected")
        if not known.online and verb != "stop":
            raise RefusedError(f"{device} is not connected; only stop is said all the same")
        try:
            checked = msgspec.convert(arguments, Texts)
        except msgspec.ValidationError as error:
            raise RefusedError(f"arguments: {error}"[:200]) from None
        self._last = max(self._last + 1, utc_us)
        self._note(Order(number=self._last, device=device, verb=verb, given_us=now_us))
        return Command(
            device=device,
            actor=self._own,
            boot=known.boot,
            connection=known.connection,
            number=self._last,
            verb=verb,
            arguments=checked,
        )

    def answered(self, said: CommandResult) -> str | None:
        """Note an answer; return the verb that it answers, None where it answers no order here."""
        order = self._given.get(said.number)
        if order is None or order.device != said.device:
            return None
        if order.outcome in ("sent", "unanswered"):
            self._given[said.number] = replace(order, outcome=said.outcome, reason=said.reason)
        return order.verb

    def overdue(self, now_us: int) -> list[Order]:
        """Return the orders that became unanswered since the last call."""
        late = [each for each in self._given.values() if _is_late(each, now_us)]
        for each in late:
            self._given[each.number] = replace(each, outcome="unanswered")
        return late

    def unsent(self, command: Command) -> None:
        """Take back an order that could not be handed to the broker."""
        self._given.pop(command.number, None)

    def of(self, device: str) -> list[Order]:
        """Return the orders given to one car, oldest first."""
        return [each for each in self._given.values() if each.device == device]

    def _note(self, order: Order) -> None:
        self._given[order.number] = order
        while len(self._given) > KEPT:
            del self._given[next(iter(self._given))]


def _is_late(order: Order, now_us: int) -> bool:
    patience_us = SELFTEST_US if order.verb == "selftest" else ANSWER_US
    return order.outcome == "sent" and now_us - order.given_us > patience_us
