"""An I2C bus with the face of `busio.I2C`, and one chip on it.

Laws:
- every transfer takes its time on the bus, so that a driver that polls for a result gets there;
- what goes wrong is an `OSError`, as from the kernel's driver.

Faults: `i2c_error` fails every transfer as a loose wire does.
"""

import errno
from typing import Final, Protocol

from hardware_sim.busio_face import BusioFace
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


class BusTime(Protocol):
    """Time as a bus sees it."""

    def monotonic_us(self) -> int:
        """Return the world's microseconds."""
        ...

    def advance_us(self, duration_us: int) -> None:
        """Let a transfer take that long."""
        ...


class I2cBus(BusioFace):
    """The bus; offers what CircuitPython drivers use."""

    def __init__(self, chip: Chip, world: World, clock: BusTime) -> None:
        """Connect `chip`; transfers let `clock` advance."""
        super().__init__()
        self._chip = chip
        self._world = world
        self._clock = clock

    def scan(self) -> list[int]:
        """Return the addresses that answer."""
        return [self._chip.address]

    def exchange(self, address: int, written: bytes | None, wanted: int) -> bytes:
        """Write (unless None), then read `wanted` bytes (unless 0), and return what was read.

        Raises:
            OSError: nothing answers at `address`.
        """
        if written is not None:
            self._transfer(address, len(written))
            self._chip.write(written, self._clock.monotonic_us())
        if not wanted:
            return b""
        self._transfer(address, wanted)
        return self._chip.read(wanted, self._clock.monotonic_us())

    def _transfer(self, address: int, length: int) -> None:
        self._clock.advance_us(_TRANSFER_US + _BYTE_US * (length + 1))
        if address != self._chip.address:
            raise OSError(errno.ENXIO, "No such device or address")
        if self._world.faults.acts("i2c_error", self._clock.monotonic_us()):
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
