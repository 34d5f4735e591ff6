"""The kernel's part of the pins: which process holds which, and what becomes of a dead one's.

Laws:
- a pin that one process holds is busy for every other, until that process is gone;
- an output keeps its level when its process dies, as on a Pi; with `strict` it becomes an input, as
  `dtparam=strict_gpiod` has it, and an input drives nothing (the motor driver's pull-downs);
- pulse width is made by the process (lgpio's own threads), so a pin between low and high stops at
  one of them with its process; here always at high, which is the worse.

`Told` is how a holder learns of its inputs.
"""

import errno
import math
from collections.abc import Callable
from typing import Any

from hardware_sim.apart import wire
from hardware_sim.pins import WorldPinFactory

Told = Callable[[int, bool, int], None]
"""Called with a pin, its level and the moment in microseconds, whenever an input changes."""


class _Listener:
    """What gpiozero's pin calls; it keeps only a weak reference to the method."""

    def __init__(self, pin: int, told: Told) -> None:
        self._pin, self._told = pin, told

    def changed(self, ticks: float, state: object) -> None:
        self._told(self._pin, bool(state), round(ticks * 1e6))


class Lines:
    """The pins of one car, lent to processes."""

    def __init__(self, pins: WorldPinFactory, *, strict: bool) -> None:
        """Lend `pins`, all of which are free."""
        self._pins = pins
        self._strict = strict
        self._holders: dict[int, object] = {}
        self._listeners: dict[int, _Listener] = {}

    def claim(self, holder: object, wanted: wire.Claim, told: Told) -> wire.Claimed | wire.Failed:
        """Give a pin to `holder`, who may hold it already, in the function it wants."""
        if self._holders.setdefault(wanted.pin, holder) is not holder:
            return wire.Failed(errno=errno.EBUSY, text=f"GPIO {wanted.pin} busy")
        pin = self._pin(wanted.pin)
        if wanted.function == "output":
            self._silence(wanted.pin)
            pin.function = "output"
            pin.state = 0.0
        else:
            pin.function = "input"
            pin.pull = pin.info.pull or wanted.pull
            self._listeners[wanted.pin] = _Listener(wanted.pin, told)
            pin.when_changed = self._listeners[wanted.pin].changed
        return wire.Claimed(pin=wanted.pin, level=float(pin.state))

    def write(self, holder: object, wanted: wire.Write) -> None:
        """Put an output of `holder` at a level; for any other pin nothing happens."""
        pin = self._pin(wanted.pin)
        if self._holders.get(wanted.pin) is holder and pin.function == "output":
            pin.state = wanted.level

    def release(self, holder: object) -> None:
        """Take back all pins of `holder`, whose process is gone."""
        for number in [each for each, who in self._holders.items() if who is holder]:
            del self._holders[number]
            self._silence(number)
            pin = self._pin(number)
            if pin.function != "output":
                continue
            if self._strict:
                pin.function = "input"
            else:
                pin.state = float(math.ceil(pin.state))

    def _silence(self, number: int) -> None:
        self._pin(number).when_changed = None
        self._listeners.pop(number, None)

    def _pin(self, number: int) -> Any:
        return self._pins.pin(f"GPIO{number}")
