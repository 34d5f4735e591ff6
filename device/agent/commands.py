"""Which operators' commands a car obeys, as a table of what each needs.

Laws:
- a command is signed for this car's topic, by the server's key or by the one that the server named
  as that operator's, and names the operator as the topic does (checked before it comes here);
- `stop` is always obeyed, however old or often;
- anything else must name the boot and connection that we are in, and no number twice: a recorded
  command is worth nothing later;
- what disrupts is vetoed while the car moves; `park` needs somebody at the car, who pressed a
  button to drive within the last 60 s and has not stopped it since;
- every refusal has a reason.

    verb      drive answers   standing   armed
    sync      -               -          -
    pictures  -               -          -
    selftest  -               needed     -
    identify  needed          needed     -
    park      needed          needed     needed
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.errors import RefusedError
from shared.messages import Command

Verb = Literal["park", "stop", "sync", "pictures", "selftest", "identify"]

ARMED_US = 60_000_000
"""How long somebody's press at the car lets an operator park it."""

MOST_PICTURES = 500
"""How many pictures one command may ask for."""

_BOOT = re.compile(r"[0-9]{8}-[0-9a-f]{8}")
_SPAN = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?", re.ASCII)


@dataclass(frozen=True)
class _Needs:
    drive: bool = False
    standing: bool = False
    armed: bool = False


_NEEDS: dict[Verb, _Needs] = {
    "sync": _Needs(),
    "pictures": _Needs(),
    "selftest": _Needs(standing=True),
    "identify": _Needs(drive=True, standing=True),
    "park": _Needs(drive=True, standing=True, armed=True),
}


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a command is judged by: where we are, and how the car is known to be."""

    boot: str
    connection: int
    drive_answers: bool = False
    is_moving: bool = False
    is_armed: bool = False


class CommandJudge:
    """Judges commands; remembers the last number of each operator on this connection.

    The server numbers what it says for an operator apart from what the operator says.
    """

    def __init__(self) -> None:
        """Start without a memory, as on a new connection."""
        self._last: dict[tuple[str, str], int] = {}

    def judge(self, command: Command, now: Situation, *, retained: bool, signer: str = "") -> str:
        """Return why `command` is refused, or an empty text where it is to be obeyed.

        `signer` is the id of the key that signed it.
        """
        if command.verb == "stop":
            return ""
        if retained:
            return "a stored command is not obeyed"
        if (command.boot, command.connection) != (now.boot, now.connection):
            return f"names another boot or connection than {now.boot}, {now.connection}"
        if command.number <= self._last.get((command.actor, signer), -1):
            return f"number {command.number} was used already"
        self._last[command.actor, signer] = command.number
        return _lacking(_NEEDS[command.verb], now)


def _lacking(needs: _Needs, now: Situation) -> str:
    if needs.drive and not now.drive_answers:
        return "the car's driving process does not answer"
    if needs.standing and now.is_moving:
        return "the car is in a manoeuvre"
    if needs.armed and not now.is_armed:
        return f"nobody pressed a button to drive at the car within {ARMED_US // 1_000_000} s"
    return ""


def picture_keys(arguments: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the (boot, sequence) keys that `arguments` name, such as {"<boot>": "3,7,10-20"}.

    Raises:
        RefusedError: they are not of that form, name nothing or too much.
    """
    keys: list[tuple[str, int]] = []
    for boot, spans in arguments.items():
        if not _BOOT.fullmatch(boot):
            raise RefusedError(f"{boot[:40]!r} is no boot; name pictures as BOOT: 3,7,10-20")
        for span in spans.split(","):
            first, last = _span(span)
            if len(keys) + last - first >= MOST_PICTURES:
                raise RefusedError(f"more than {MOST_PICTURES} pictures: ask for them in parts")
            keys += [(boot, number) for number in range(first, last + 1)]
    if not keys:
        raise RefusedError("no pictures are named; name them as BOOT: 3,7,10-20")
    return keys


def _span(text: str) -> tuple[int, int]:
    found = _SPAN.fullmatch(text.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise RefusedError(f"{text[:40]!r} is no sequence and no span such as 10-20")
    return first, last
