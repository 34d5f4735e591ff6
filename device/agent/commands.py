"""Which operators' commands a car obeys.

Laws:
- a command is signed by the server's key for this car's topic and names the operator as the topic
  does (checked before it comes here);
- `stop` is always obeyed, however old or often;
- anything else must name the boot and connection that we are in, and no number twice: a recorded
  command is worth nothing later;
- what this version does not offer is refused with a reason, never passed over in silence.
"""

from typing import Literal

import msgspec

from shared.messages import Command

Action = Literal["stop", "sync"]

_OFFERED: dict[str, Action] = {"stop": "stop", "sync": "sync"}


class Refusal(msgspec.Struct, frozen=True):
    """Why a command is not obeyed."""

    reason: str


class CommandJudge:
    """Judges commands; remembers the last number of each operator on this connection."""

    def __init__(self) -> None:
        """Start without a memory, as on a new connection."""
        self._last: dict[str, int] = {}

    def judge(
        self, command: Command, *, boot: str, connection: int, retained: bool
    ) -> Action | Refusal:
        """Return what to do about `command`, given the boot and connection that we are in."""
        if command.verb == "stop":
            return "stop"
        if retained:
            return Refusal("a stored command is not obeyed")
        if (command.boot, command.connection) != (boot, connection):
            return Refusal(f"names another boot or connection than {boot}, {connection}")
        if command.number <= self._last.get(command.actor, -1):
            return Refusal(f"number {command.number} was used already")
        self._last[command.actor] = command.number
        offered = _OFFERED.get(command.verb)
        return offered or Refusal(f"this version does not offer {command.verb}")
