"""An I2C bus with the face of `busio.I2C`, and one chip on it.

Laws:
- every transfer takes its time on the bus, so that a driver that polls for a result gets there;
- one holder at a time, as busio wants it;
- what goes wrong is an `OSError`, as from the kernel's driver.

Faults: `i2c_error` fails every transfer as a loose wire does.
"""

import errno
from typing import Any, Final, Protocol

from hardware_sim.clock import VirtualClock
from hardware_sim.world import World

_TRANSFER_US: Final = 70
"""What the kernel's driver and the start and stop conditions take, per transfer (Pi 4, measured by
many at 50 to 100 us)."""
_BYTE_US: Final = 23
"""Nine clock pulses at 400 kHz."""


class Chip(Protocol):
    """Something on the bus; times are the world's microseconds."""

    @property
    def address(self) -> int:
        """The address that it answers at."""
        ...

    def write(self, data: bytes, now_us: int) -> None:
        """Take one write transfer."""
        ...

    def read(self, length: int, now_us: int) -> bytes:
        """Answer one read transfer."""
        ...


class I2cBus:
    """The bus; offers what CircuitPython drivers use."""

    def __init__(self, chip: Chip, world: World, clock: VirtualClock) -> None:
        """Connect `chip`; transfers let `clock` advance."""
        self._chip = chip
        self._world = world
        self._clock = clock
        self._locked = False

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

    def scan(self) -> list[int]:
        """Return the addresses that answer."""
        return [self._chip.address]

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        """Write `buffer[start:end]` to the chip at `address`.

        Raises:
            OSError: nothing answers there.
        """
        data = bytes(memoryview(buffer)[start:end])
        self._transfer(address, len(data))
        self._chip.write(data, self._clock.monotonic_us())

    def readfrom_into(
        self, address: int, buffer: Any, *, start: int = 0, end: int | None = None
    ) -> None:
        """Fill `buffer[start:end]` from the chip at `address`.

        Raises:
            OSError: nothing answers there.
        """
        view = memoryview(buffer)[start:end]
        self._transfer(address, len(view))
        view[:] = self._chip.read(len(view), self._clock.monotonic_us())

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
        self.writeto(address, buffer_out, start=out_start, end=out_end)
        self.readfrom_into(address, buffer_in, start=in_start, end=in_end)

    def deinit(self) -> None:
        """Release the bus."""
        self._locked = False

    def _transfer(self, address: int, length: int) -> None:
        self._clock.advance_us(_TRANSFER_US + _BYTE_US * (length + 1))
        if address != self._chip.address:
            raise OSError(errno.ENXIO, "No such device or address")
        if self._world.faults.acts("i2c_error", self._clock.monotonic_us()):
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
