"""The event stream: what happened, newest last, in words that a terminal can take.

Laws:
- text of others holds no control character when it is shown: an escape sequence in a car's reason
  would write where it likes on the reader's screen;
- the last `KEPT` events stay.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

KEPT = 500

_LONGEST = 300


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line; `car` is "" where it is about the console itself."""

    utc_us: int
    car: str
    text: str
    is_bad: bool = False


class Events:
    """The last events."""

    def __init__(self) -> None:
        """Start without any."""
        self._kept: deque[Event] = deque(maxlen=KEPT)

    def add(self, utc_us: int, car: str, text: str, *, is_bad: bool = False) -> None:
        """Note that `text` happened to `car` at `utc_us`."""
        self._kept.append(Event(utc_us=utc_us, car=car, text=text[:_LONGEST], is_bad=is_bad))

    def last(self, number: int, car: str = "") -> list[Event]:
        """Return the last `number` events, oldest first, of one car or of all."""
        found: list[Event] = []
        for each in self._newest():
            if len(found) == number:
                break
            if not car or each.car == car:
                found.append(each)
        return found[::-1]

    def _newest(self) -> Iterator[Event]:
        return reversed(self._kept)


def plain(text: str) -> str:
    """Return `text` of somebody else in printable characters alone, on one line."""
    return "".join(each if each.isprintable() else "?" for each in text)
