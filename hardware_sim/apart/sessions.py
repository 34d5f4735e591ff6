"""What each device of a world says to what a car asks of it: no socket here.

Laws:
- a session answers a request with one message, or with none where the wire says so; what nobody
  asked for (pictures, edges) it sends by itself;
- a request that a device does not know is `RefusedError`: its connection ends;
- nothing here waits, and what cannot be sent at once is lost, as a camera's frame is that finds no
  buffer, and an edge that finds the kernel's queue full.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from device.drivers.camera import configure
from device.drivers.gpio import Pins
from hardware_sim.apart import wire
from hardware_sim.apart.lines import Lines
from hardware_sim.camera import SimulatedPicamera2
from hardware_sim.camera_request import CompletedRequest
from hardware_sim.i2c import I2cBus
from hardware_sim.pins import WorldPinFactory
from hardware_sim.world import Placement, World
from shared.errors import RefusedError

Send = Callable[[wire.FromWorld], bool]
"""Sends a message now or not at all; tells whether it did."""

_EDGES_A_PACKET: Final = 1_000


class MotorWatch:
    """Since when the motors get current, or none; by the world's own steps."""

    def __init__(self, world: World, pins: WorldPinFactory, wiring: Pins) -> None:
        """Watch the motors in `world`."""
        self._pins = pins
        self._enables = (wiring.left_enable, wiring.right_enable)
        self.is_driven = False
        self.since_us = world.now_us
        world.actors.append(self)

    def tick(self, now_us: int) -> None:
        """Look at the motors' pins; called by the world."""
        is_driven = any(self._pins.level(pin) > 0.0 for pin in self._enables)
        if is_driven != self.is_driven:
            self.is_driven, self.since_us = is_driven, now_us


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One car's hardware and the world that it stands in."""

    world: World
    wiring: Pins
    pins: WorldPinFactory
    lines: Lines
    bus: I2cBus
    camera: SimulatedPicamera2
    motors: MotorWatch


class Session(Protocol):
    """One opened device."""

    def take(self, message: wire.ToWorld) -> wire.FromWorld | None:
        """Do what `message` asks and return the answer, None where there is none.

        Raises:
            RefusedError: this device does not know such a message.
        """
        ...

    def stepped(self) -> None:
        """Send what the world's last steps brought."""
        ...

    def gone(self) -> None:
        """Whoever opened the device is dead or has closed it."""
        ...


class PinsSession:
    """Pins of one process."""

    def __init__(self, hardware: Hardware, send: Send) -> None:
        """Hold no pin yet."""
        self._lines, self._send = hardware.lines, send
        self._edges: list[tuple[int, bool, int]] = []

    def take(self, message: wire.ToWorld) -> wire.FromWorld | None:
        """Claim or write a pin; a write is not answered."""
        if isinstance(message, wire.Claim):
            return self._lines.claim(self, message, self._changed)
        if isinstance(message, wire.Write):
            self._lines.write(self, message)
            return None
        raise RefusedError(f"pins do not know {type(message).__name__}")

    def stepped(self) -> None:
        """Tell of the inputs that changed."""
        while self._edges:
            edges, self._edges = self._edges[:_EDGES_A_PACKET], self._edges[_EDGES_A_PACKET:]
            self._send(wire.Changed(edges=tuple(edges)))

    def gone(self) -> None:
        """Give the pins back to the kernel."""
        self._lines.release(self)

    def _changed(self, pin: int, level: bool, at_us: int) -> None:
        self._edges.append((pin, level, at_us))


class BusSession:
    """The I2C bus."""

    def __init__(self, hardware: Hardware, send: Send) -> None:  # noqa: ARG002 - answers only
        """Open the bus."""
        self._bus = hardware.bus

    def take(self, message: wire.ToWorld) -> wire.FromWorld | None:
        """Do one exchange with the chip."""
        if not isinstance(message, wire.Transfer):
            raise RefusedError(f"a bus does not know {type(message).__name__}")
        try:
            read = self._bus.exchange(message.address, message.written, message.wanted)
        except OSError as error:
            code, text = error.errno or errno.EIO, error.strerror or ""
            return wire.Failed(number=message.number, errno=code, text=text)
        return wire.Read(number=message.number, data=read)

    def stepped(self) -> None:
        """Do nothing: a chip speaks when it is asked."""

    def gone(self) -> None:
        """Do nothing: the chip goes on as it was set, as a real one does."""


class CameraSession:
    """The camera; one process at a time has it."""

    def __init__(self, hardware: Hardware, send: Send) -> None:
        """Open the camera, which does not run yet."""
        self._camera, self._world, self._send = hardware.camera, hardware.world, send

    def take(self, message: wire.ToWorld) -> wire.FromWorld | None:
        """Begin to send pictures."""
        if not isinstance(message, wire.Stream):
            raise RefusedError(f"a camera does not know {type(message).__name__}")
        if message.width * message.height > wire.PIXELS:
            return wire.Failed(
                errno=errno.EINVAL, text=f"pictures of more than {wire.PIXELS} pixels"
            )
        self._camera.stop()
        configure(
            self._camera, width=message.width, height=message.height, frame_us=message.frame_us
        )
        # Its tables take a while, once: now, while a car that does not move yet waits for it.
        self._camera.array_of(self._world.now_us, "main")
        self._camera.post_callback = self._completed
        self._camera.start()
        return wire.Done()

    def stepped(self) -> None:
        """Do nothing: frames are sent as they are delivered."""

    def gone(self) -> None:
        """Stop the camera."""
        self._camera.post_callback = None
        self._camera.stop()

    def _completed(self, request: CompletedRequest) -> None:
        # Rendered here and not when a car asks: a control loop must not wait for a renderer.
        metadata = request.get_metadata()
        self._send(
            wire.Picture(
                exposed_us=metadata["SensorTimestamp"] // 1000,
                exposure_us=metadata["ExposureTime"],
                pixels=request.make_array("main").tobytes(),
            )
        )


class HandSession:
    """What a person beside the car does and sees."""

    def __init__(self, hardware: Hardware, send: Send) -> None:  # noqa: ARG002 - answers only
        """Stand beside the car."""
        self._hardware = hardware

    def take(self, message: wire.ToWorld) -> wire.FromWorld | None:
        """Press, put or look."""
        hardware = self._hardware
        if isinstance(message, wire.Look):
            return self._seen()
        if isinstance(message, wire.Press):
            button = getattr(hardware.wiring, _BUTTONS[message.button])
            (hardware.pins.press if message.is_down else hardware.pins.let_go)(button)
            return wire.Done()
        if isinstance(message, wire.Put):
            hardware.world.place(
                Placement(x_mm=message.x_mm, z_mm=message.z_mm, heading_deg=message.heading_deg)
            )
            return wire.Done()
        raise RefusedError(f"a hand does not know {type(message).__name__}")

    def stepped(self) -> None:
        """Do nothing: who looks sees."""

    def gone(self) -> None:
        """Do nothing: a button stays as it was left."""

    def _seen(self) -> wire.Seen:
        hardware = self._hardware
        world, pins, wiring = hardware.world, hardware.pins, hardware.wiring
        place = world.placement
        return wire.Seen(
            now_us=world.now_us,
            scene=world.scene.name,
            distance_mm=world.distance_mm,
            x_mm=place.x_mm,
            z_mm=place.z_mm,
            heading_deg=place.heading_deg,
            speeds_mm_s=world.speeds_mm_s,
            contacts=world.contacts,
            lamp=pins.level(wiring.led) > 0.0,
            buzzer=pins.level(wiring.buzzer) > 0.0,
            is_driven=hardware.motors.is_driven,
            since_us=hardware.motors.since_us,
        )


_BUTTONS: Final[dict[wire.Button, str]] = {
    "park": "button_park",
    "park_by_sensor": "button_park_by_sensor",
    "stop": "button_stop",
}

SESSIONS: Final[dict[wire.Device, Callable[[Hardware, Send], Session]]] = {
    "pins": PinsSession,
    "bus": BusSession,
    "camera": CameraSession,
    "hand": HandSession,
}
