"""Ending on SIGTERM and Ctrl-C between two steps, instead of dying in one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals() -> Iterator[set[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them, for as long as the context lasts."""
    seen: set[int] = set()

    def note(number: int, _frame: FrameType | None) -> None:
        seen.add(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
