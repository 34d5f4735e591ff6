"""A person's hand and eye in another process's world."""

from pathlib import Path
from types import TracebackType
from typing import Self

from hardware_sim.apart import wire
from hardware_sim.apart.link import Link
from shared.clock import Clock
from shared.errors import HardwareError

PRESS_US = 120_000
"""As long as a person holds a button."""


class Hand:
    """Does at the car what a person can; use it as a context."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Reach into the world that listens at `path`.

        Raises:
            HardwareError: there is none.
        """
        self._link, self._clock = Link(path, "hand"), clock

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the world."""
        self._link.close()

    def press(self, button: wire.Button) -> None:
        """Press a button for as long as a person does.

        Raises:
            HardwareError: the world is gone.
        """
        self._ask(wire.Press(button=button, is_down=True))
        self._clock.sleep_until_us(self._clock.monotonic_us() + PRESS_US)
        self._ask(wire.Press(button=button, is_down=False))

    def put(self, distance_mm: float, *, heading_deg: float = 0.0) -> None:
        """Put the car down, its bumper's centre `distance_mm` before the wall.

        Raises:
            HardwareError: the world is gone, or has no such place.
        """
        self._ask(wire.Put(x_mm=0.0, z_mm=distance_mm, heading_deg=heading_deg))

    def look(self) -> wire.Seen:
        """Return what there is to see.

        Raises:
            HardwareError: the world is gone.
        """
        seen = self._ask(wire.Look())
        if not isinstance(seen, wire.Seen):
            raise HardwareError("the world showed nothing")
        return seen

    def _ask(self, message: wire.ToWorld) -> wire.FromWorld:
        try:
            return self._link.ask(message)
        except OSError as error:
            raise HardwareError(f"world: {error.strerror or error}") from None
