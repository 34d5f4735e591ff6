"""A gamepad beside the buttons: X parks, Y parks by the sensor, B stops.

Laws:
- reading never blocks and never waits for a gamepad that is not there;
- a gamepad that goes away (battery, distance) counts as one press of B: whoever holds it could not
  stop the car any more;
- one that comes back is taken up again, looked for at most every two seconds.

Buttons are named by what is printed on them. The kernel's codes are those of
`linux/input-event-codes.h`; X and Y are swapped there against where they sit on some pads, which
their drivers correct.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from device.hardware import Controls, Press
from shared.clock import Clock

_EV_KEY = 0x01
_PRESSED = 1
_MEANINGS: dict[int, Press] = {
    0x133: "park",  # BTN_X
    0x134: "park_by_sensor",  # BTN_Y
    0x131: "stop",  # BTN_B
}
_LOOK_EVERY_US = 2_000_000
_LONG_BITS = 8 * struct.calcsize("P")

SYSFS = Path("/sys/class/input")
"""Where the kernel tells which input devices there are."""


def find_gamepads(inputs: Path = SYSFS) -> list[str]:
    """Return the device files of what has buttons X, Y and B, as the kernel tells under `inputs`.

    However it is connected: udev's links by id, which name joysticks, are made for USB alone. No
    device is opened for this, so it takes well below a millisecond.
    """
    found = []
    for entry in sorted(inputs.glob("event*"), key=lambda each: (len(each.name), each.name)):
        try:
            words = (entry / "device" / "capabilities" / "key").read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError):
            continue
        if all(_has(words, code) for code in _MEANINGS):
            found.append(f"/dev/input/{entry.name}")
    return found


def _has(words: Sequence[str], code: int) -> bool:
    """Tell whether bit `code` is set in a bitmap as the kernel prints it: longs, highest first."""
    place, bit = divmod(code, _LONG_BITS)
    return place < len(words) and bool(int(words[-1 - place], 16) >> bit & 1)


class InputDevice(Protocol):
    """What this driver asks of `evdev.InputDevice`, opened without blocking."""

    def read_one(self) -> Any:
        """Return the next event (`type`, `code`, `value`), or None where none waits."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...


class GamepadControls:
    """`Controls` on the first gamepad that `find` returns, now or later."""

    def __init__(self, find: Callable[[], InputDevice | None], clock: Clock) -> None:
        """Look for a gamepad; `find` opens one, or returns None, and takes no time to speak of."""
        self._find, self._clock = find, clock
        self._device = find()
        self._next_look_us = clock.monotonic_us() + _LOOK_EVERY_US

    def pressed(self) -> Press | None:
        """Return the oldest press that was not yet returned, or None."""
        if self._device is None and not self._found():
            return None
        try:
            return self._next(self._device)
        except OSError:
            # How the kernel says that the device is gone.
            self._let_go()
            return "stop"

    def close(self) -> None:
        """Release the gamepad."""
        self._let_go()

    def _next(self, device: Any) -> Press | None:
        while (event := device.read_one()) is not None:
            if event.type == _EV_KEY and event.value == _PRESSED and event.code in _MEANINGS:
                return _MEANINGS[event.code]
        return None

    def _found(self) -> bool:
        now_us = self._clock.monotonic_us()
        if now_us < self._next_look_us:
            return False
        self._next_look_us = now_us + _LOOK_EVERY_US
        self._device = self._find()
        return self._device is not None

    def _let_go(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            try:
                device.close()
            except OSError:
                # Gone already, which is what was wanted.
                return


class MergedControls:
    """Several `Controls` as one; presses come out of each in its order."""

    def __init__(self, parts: Sequence[Controls]) -> None:
        """Listen to `parts`, which `close` closes."""
        self._parts = tuple(parts)

    def pressed(self) -> Press | None:
        """Return a press that was not yet returned, or None once no part has one."""
        for part in self._parts:
            press = part.pressed()
            if press is not None:
                return press
        return None

    def close(self) -> None:
        """Close all parts."""
        for part in self._parts:
            part.close()
