"""The face of `busio.I2C`: what CircuitPython drivers use of it, over any way to a chip.

Laws:
- one holder at a time, as busio wants it;
- buffers are cut as busio cuts them; what crosses to the chip is plain bytes.
"""

from abc import ABC, abstractmethod
from typing import Any


class BusioFace(ABC):
    """An I2C bus as busio offers it; whoever extends it carries the bytes."""

    def __init__(self) -> None:
        """Start with nobody holding the bus."""
        self._locked = False

    @abstractmethod
    def exchange(self, address: int, written: bytes | None, wanted: int) -> bytes:
        """Write (unless None), then read `wanted` bytes (unless 0), and return what was read.

        Raises:
            OSError: nothing answers at `address`.
        """

    def try_lock(self) -> bool:
        """Take the bus; False where somebody holds it."""
        free, self._locked = not self._locked, True
        return free

    def unlock(self) -> None:
        """Give the bus back.

        Raises:
            ValueError: nobody holds it.
        """
        if not self._locked:
            raise ValueError("Not locked")
        self._locked = False

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        """Write `buffer[start:end]` to the chip at `address`.

        Raises:
            OSError: nothing answers there.
        """
        self.exchange(address, bytes(memoryview(buffer)[start:end]), 0)

    def readfrom_into(
        self, address: int, buffer: Any, *, start: int = 0, end: int | None = None
    ) -> None:
        """Fill `buffer[start:end]` from the chip at `address`.

        Raises:
            OSError: nothing answers there.
        """
        view = memoryview(buffer)[start:end]
        view[:] = self.exchange(address, None, len(view))

    def writeto_then_readfrom(
        self,
        address: int,
        buffer_out: Any,
        buffer_in: Any,
        *,
        out_start: int = 0,
        out_end: int | None = None,
        in_start: int = 0,
        in_end: int | None = None,
        stop: bool = False,  # noqa: ARG002 - busio's own signature
    ) -> None:
        """Write, then read without giving the bus away in between.

        Raises:
            OSError: nothing answers there.
        """
        view = memoryview(buffer_in)[in_start:in_end]
        written = bytes(memoryview(buffer_out)[out_start:out_end])
        view[:] = self.exchange(address, written, len(view))

    def deinit(self) -> None:
        """Release the bus."""
        self._locked = False
