"""Threads that want one thing take turns in the order in which they came.

A lock goes to whoever asks next, and that is mostly the thread that has just given it back: one
with many short transactions would keep all others waiting through all of them.

Laws:
- who gives the thing back hands it to the one that has waited longest, not to who asks next;
- who has waited too long leaves the queue, and gets nothing later.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import RetryLaterError


class Turns:
    """One thing, and the threads that wait for it."""

    def __init__(self) -> None:
        """Nobody has it."""
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, longest_s: float) -> Iterator[None]:
        """Have the thing for the block, once it is this thread's turn.

        Raises:
            RetryLaterError: it was not within `longest_s`.
        """
        self._take(longest_s)
        try:
            yield
        finally:
            self._hand_on()

    def _take(self, longest_s: float) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(longest_s):
            return
        with self._guard:
            if mine.is_set():
                return  # It was handed to us at the last moment.
            self._waiting.remove(mine)
        raise RetryLaterError("others have been writing for too long")

    def _hand_on(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False
