"""The motors' pins forced low, by a process that does not drive.

Laws:
- taking the pins can wait, loading the library cannot: everything but the pins is taken when this
  is made, so that `cut` is a matter of a millisecond;
- pins that another process holds are an error, never a silent success.
"""

from typing import Any

from gpiozero import GPIOZeroError, OutputDevice

from device.drivers.gpio import Pins
from shared.errors import HardwareError


class GpioCutoff:
    """A `Cutoff` on the pins of both motors."""

    def __init__(
        self, pins: Pins, pin_factory: Any, *, errors: tuple[type[Exception], ...] = ()
    ) -> None:
        """Be ready to take `pins` from `pin_factory`; `errors` are those of its own library."""
        self._factory = pin_factory
        self._errors = (GPIOZeroError, OSError, *errors)
        # First what lets the current flow, then its direction.
        self._pins = (
            pins.left_enable,
            pins.right_enable,
            pins.left_phase,
            pins.right_phase,
        )

    def cut(self) -> None:
        """Take the pins, put them low and give them back.

        Raises:
            HardwareError: a pin cannot be taken; the others are low.
        """
        failed = []
        for pin in self._pins:
            try:
                # An output of gpiozero is low from the moment it is made, and an input afterwards.
                OutputDevice(pin, initial_value=False, pin_factory=self._factory).close()
            except self._errors as error:
                failed.append(f"GPIO {pin}: {error}")
        if failed:
            raise HardwareError(f"motors not cut: {'; '.join(failed)}"[:400])

    def close(self) -> None:
        """Release the factory."""
        self._factory.close()
