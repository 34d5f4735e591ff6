"""A child process that says something and ends, within a limit of time.

Laws:
- whatever the child does, it does it to itself: it is asked nothing and waited for by nobody;
- what it says is bounded, and counts only once it ended.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from shared.clock import Clock
from shared.errors import RetryLaterError

_ANSWER_LIMIT_BYTES = 16 * 1024


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status, None where it took too long, and what it said."""

    status: int | None
    said: bytes = b""


class Child:
    """A running child, seen from its parent."""

    def __init__(self, command: Sequence[str], clock: Clock, *, limit_us: int) -> None:
        """Start `command`, which may take `limit_us`.

        Raises:
            RetryLaterError: the machine gives no process now.
        """
        self._clock = clock
        self._deadline_us = clock.monotonic_us() + limit_us
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and own paths
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise RetryLaterError(f"cannot start a process: {error.strerror}") from None

    def poll(self) -> Ended | None:
        """Return how the child ended, or None while it is at work; ask no more after that."""
        status = self.process.poll()
        if status is None:
            if self._clock.monotonic_us() < self._deadline_us:
                return None
            self.stop()
            return Ended(None)
        return Ended(status, self._said())

    def stop(self) -> None:
        """End the child, if it runs."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def _said(self) -> bytes:
        if self.process.stdout is None or self.process.stdout.closed:
            return b""
        with self.process.stdout as pipe:
            return pipe.read(_ANSWER_LIMIT_BYTES)
