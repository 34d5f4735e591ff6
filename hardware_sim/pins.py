"""gpiozero pins that are wired to the simulated world.

Laws:
- fakes replace the pin, not gpiozero: its own motors, lamps, encoders and buttons run on top;
- outputs act on the world at once; inputs change as the world steps, and gpiozero's callbacks run
  in whatever thread advances the world;
- time is the world's; nothing is remembered but a pin's present level, however long a run lasts;
- a pin that is no output any more drives nothing, as behind a motor driver with pull-downs;
- a pulse width is a whole per cent, cut off, as gpiozero's lgpio pins hand it on to `tx_pwm`.

Faults: `encoder_lost` silences the left wheel's encoder (its cable came off); `motor_stalled` acts
in the world.
"""

from typing import Any, Final

from gpiozero.pins.mock import MockFactory, MockPWMPin
from gpiozero.pins.pi import PiPin

from device.drivers.gpio import Pins
from hardware_sim.world import World

_LEFT: Final = 0
_DUTY_STEPS: Final = 100


class _WorldPin(MockPWMPin):  # type: ignore[misc] # gpiozero ships no types
    """A pin that tells its factory about every level that it takes as an output."""

    def _set_state(self, value: float) -> None:
        super()._set_state(int(value * _DUTY_STEPS) / _DUTY_STEPS if self._frequency else value)

    def _change_state(self, value: float) -> bool:
        if self.state == value:
            return False
        self._state = value
        self.factory.driven(self.info.name, float(value) if self._function == "output" else 0.0)
        return True

    def _set_function(self, value: str) -> None:
        was_output = self._function == "output"
        super()._set_function(value)
        if was_output and value == "input":
            self.factory.driven(self.info.name, 0.0)

    def _call_when_changed(self) -> None:
        # MockPin's own would pass real time; everything here happens in the world's.
        PiPin._call_when_changed(self, self.factory.ticks(), self.state)  # noqa: SLF001 - our base's

    @property
    def factory(self) -> Any:
        """The factory that made this pin."""
        return self._factory


class WorldPinFactory(MockFactory):  # type: ignore[misc] # gpiozero ships no types
    """A pin factory whose pins are motors, encoders, lamp, buzzer and buttons of one car."""

    def __init__(self, world: World, pins: Pins) -> None:
        """Wire `pins` to `world`."""
        super().__init__(pin_class=_WorldPin)
        self._world = world
        self._levels: dict[str, float] = {}
        self._motors = {
            _name(pin): side
            for side, pair in enumerate(
                ((pins.left_phase, pins.left_enable), (pins.right_phase, pins.right_enable))
            )
            for pin in pair
        }
        self._phases = (_name(pins.left_phase), _name(pins.right_phase))
        self._enables = (_name(pins.left_enable), _name(pins.right_enable))
        self._encoders = tuple(
            next(info for _, info in self.board_info.find_pin(_name(bcm)))
            for bcm in (pins.left_encoder, pins.right_encoder)
        )
        self._half_edge_mm = world.chassis.mm_per_edge / 2.0
        self._half_edges = [0, 0]
        world.actors.append(self)

    def ticks(self) -> float:
        """Return the world's time in seconds."""
        return self._world.now_us / 1e6

    def driven(self, name: str, level: float) -> None:
        """Take note of an output's level (0..1) and pass a motor's on to the world."""
        self._levels[name] = level
        side = self._motors.get(name)
        if side is None:
            return
        backwards = self._levels.get(self._phases[side], 0.0) > 0.0
        duty = self._levels.get(self._enables[side], 0.0)
        self._world.set_duty(side, -duty if backwards else duty)

    def level(self, bcm: int) -> float:
        """Return what the pin with that BCM number puts out, 0..1; 0 where it is no output."""
        return self._levels.get(_name(bcm), 0.0)

    def press(self, bcm: int) -> None:
        """Close the button to ground on that pin."""
        self.pin(_name(bcm)).drive_low()

    def let_go(self, bcm: int) -> None:
        """Open the button on that pin; its pull-up lifts it."""
        self.pin(_name(bcm)).drive_high()

    def tick(self, now_us: int) -> None:
        """Turn the encoders as far as the wheels have turned; called by the world."""
        for side, travelled_mm in enumerate(self._world.travel_mm):
            wanted = int(travelled_mm / self._half_edge_mm)
            if wanted == self._half_edges[side]:
                continue
            lost = side == _LEFT and self._world.faults.acts("encoder_lost", now_us)
            if not lost:
                self._turn(self._encoders[side], wanted - self._half_edges[side])
            self._half_edges[side] = wanted

    def _turn(self, encoder: Any, half_edges: int) -> None:
        pin = self.pins.get(encoder)
        if pin is None or pin.function != "input":
            return
        for _ in range(half_edges):
            if pin.state:
                pin.drive_low()
            else:
                pin.drive_high()


def _name(bcm: int) -> str:
    return f"GPIO{bcm}"
