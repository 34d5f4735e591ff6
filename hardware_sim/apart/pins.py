"""gpiozero pins whose wires end in another process's world.

Laws:
- gpiozero's own motors, lamps, encoders and buttons run on top, as on a Pi's pins;
- taking a pin is answered, so that one which another process holds is an error at once; a level is
  sent and not waited for: the control loop never stands still for a wire, and the order holds;
- edges arrive in a thread of this module, which calls gpiozero's callbacks, as lgpio's does;
- letting go never fails: pins of a world that is gone drive nothing.

A pin is an input from the moment it is made, as lgpio's are.
"""

import errno
import logging
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from gpiozero.exc import PinFixedPull, PinInvalidFunction, PinSetInput
from gpiozero.pins.pi import PiFactory, PiPin

from hardware_sim.apart import wire
from hardware_sim.apart.link import Link
from shared.clock import Clock

_log = logging.getLogger(__name__)

_PI_4B: Final = 0xC03114
_PATIENCE_S: Final = 5.0
"""Pins are taken before a car moves, or to cut its motors: late is better than not at all."""


class ApartPin(PiPin):  # type: ignore[misc] # gpiozero ships no types
    """One pin; what it is set to is kept here, what it reads comes from the world."""

    def __init__(self, factory: "ApartPinFactory", info: Any) -> None:
        """Take the pin as an input.

        Raises:
            OSError: another process holds it, or the world is gone.
        """
        super().__init__(factory, info)
        self._function: wire.Function = "input"
        self._pull: wire.Pull = info.pull or "floating"
        self._frequency: float | None = None
        self._bounce: float | None = None
        self._edges = "both"
        factory.claim(self._number, self._function, self._pull)

    @property
    def bcm(self) -> int:
        """The pin's BCM number."""
        return int(self._number)

    def close(self) -> None:
        """Make the pin an input again."""
        self.when_changed = None
        with suppress(OSError):
            self.function = "input"

    def changed(self, ticks: float, level: bool) -> None:
        """Call who waits for such an edge; called in the factory's thread."""
        wanted = self._edges in ("both", "rising" if level else "falling")
        with self._when_changed_lock:
            if wanted and self._when_changed is not None:
                self._call_when_changed(ticks, int(level))

    def _get_function(self) -> wire.Function:
        return self._function

    def _set_function(self, value: wire.Function) -> None:
        if value not in ("input", "output"):
            raise PinInvalidFunction(f"invalid function {value!r} for pin {self!r}")
        self._function, self._frequency = value, None
        self._factory.claim(self._number, value, self._pull)

    def _get_state(self) -> float:
        return float(self._factory.level(self._number))

    def _set_state(self, value: float) -> None:
        if self._function == "input":
            raise PinSetInput(f"cannot set state of pin {self!r}")
        level = float(value) if self._frequency else float(bool(value))
        self._factory.write(self._number, level)

    def _get_frequency(self) -> float | None:
        return self._frequency

    def _set_frequency(self, value: float | None) -> None:
        self._frequency = value or None
        if self._frequency is None and self._function == "output":
            with suppress(OSError):
                self._factory.write(self._number, 0.0)

    def _get_pull(self) -> wire.Pull:
        return self._pull

    def _set_pull(self, value: wire.Pull) -> None:
        if self._function != "input":
            raise PinFixedPull(f"cannot set pull on non-input pin {self!r}")
        if self.info.pull not in (value, ""):
            raise PinFixedPull(f"{self!r} has a physical pull-{self.info.pull} resistor")
        self._pull = value
        self._factory.claim(self._number, self._function, value)

    def _get_bounce(self) -> float | None:
        return self._bounce

    def _set_bounce(self, value: float | None) -> None:
        # Simulated buttons do not bounce.
        self._bounce = value

    def _get_edges(self) -> str:
        return self._edges

    def _set_edges(self, value: str) -> None:
        self._edges = value

    def _enable_event_detect(self) -> None:
        """Do nothing: every change of an input is told."""

    def _disable_event_detect(self) -> None:
        """Do nothing, for the same reason."""


class ApartPinFactory(PiFactory):  # type: ignore[misc] # gpiozero ships no types
    """The pins of a Raspberry Pi 4B in another process's world."""

    def __init__(self, link: Link, clock: Clock) -> None:
        """Talk over `link`, opened for pins, in the time of `clock`, which is the world's too."""
        super().__init__()
        self.pin_class = ApartPin
        self._link, self._clock = link, clock
        self._claiming = threading.Lock()
        self._answers: SimpleQueue[wire.FromWorld | None] = SimpleQueue()
        self._levels: dict[int, float] = {}
        self._numbered: dict[int, ApartPin] = {}
        self._is_closing = False
        link.listen()
        self._thread = threading.Thread(target=self._listen, name="pins", daemon=True)
        self._thread.start()

    def pin(self, name: object) -> "ApartPin":
        """Return the pin of that name, number or position; always the same one."""
        pin: ApartPin = super().pin(name)
        self._numbered[pin.bcm] = pin
        return pin

    def ticks(self) -> float:
        """Return the time in seconds."""
        return self._clock.monotonic_us() / 1e6

    def ticks_diff(self, later: float, earlier: float) -> float:
        """Return the seconds between two `ticks`."""
        return later - earlier

    def level(self, number: int) -> float:
        """Return the level of a pin, 0..1, as last written or heard of."""
        return self._levels.get(number, 0.0)

    def claim(self, number: int, function: wire.Function, pull: wire.Pull) -> None:
        """Take a pin.

        Raises:
            OSError: another process holds it (EBUSY), or the world is gone.
        """
        with self._claiming:
            self._link.say(wire.Claim(pin=number, function=function, pull=pull))
            try:
                answer = self._answers.get(timeout=_PATIENCE_S)
            except Empty:
                self._link.shut()
                raise OSError(errno.ETIMEDOUT, "the world does not answer") from None
        if isinstance(answer, wire.Failed):
            raise OSError(answer.errno, answer.text)
        if not isinstance(answer, wire.Claimed):
            # For whoever asks next: nobody will answer any more.
            self._answers.put(None)
            raise OSError(errno.EPIPE, "the world is gone")

    def write(self, number: int, level: float) -> None:
        """Put an output at `level`, 0..1.

        Raises:
            OSError: the world is gone.
        """
        self._levels[number] = level
        self._link.say(wire.Write(pin=number, level=level))

    def close(self) -> None:
        """Let go of all pins."""
        self._is_closing = True
        super().close()
        self._link.shut()
        self._thread.join()
        self._link.close()

    def _get_revision(self) -> int:
        return _PI_4B

    def _listen(self) -> None:
        while True:
            try:
                message = self._link.hear()
            except OSError as error:
                if not self._is_closing:
                    _log.error("pins_lost error=%s", error.strerror)
                self._answers.put(None)
                return
            if isinstance(message, wire.Changed):
                for number, level, at_us in message.edges:
                    self._levels[number] = float(level)
                    self._tell(number, at_us / 1e6, level=level)
                continue
            if isinstance(message, wire.Claimed):
                # Here and not where the answer is read: an edge may follow it at once.
                self._levels[message.pin] = message.level
            self._answers.put(message)

    def _tell(self, number: int, ticks: float, *, level: bool) -> None:
        pin = self._numbered.get(number)
        if pin is not None:
            pin.changed(ticks, level)
