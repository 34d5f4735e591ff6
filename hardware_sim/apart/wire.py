"""What crosses between a world and the cars in other processes; the only place that decodes it.

Laws:
- one message is one packet of a local socket: no framing, no halves;
- whatever a peer sends that is too long, malformed or not finite is a `RefusedError`;
- it is what crosses a real car's wires and no more: pin levels, bytes on a bus, pictures; nothing
  that a driver could not get from its instrument. Only the `Hand` sees and does what people do.

A connection is opened for one device, as a file under /dev is, and speaks of nothing else.
"""

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from shared import codec
from shared.errors import RefusedError

PACKET_BYTES: Final = 192 * 1024
"""The most that a packet may hold: what Linux lets a socket send at once (net.core.wmem_default
is 208 KiB), less its own book-keeping."""

PIXELS: Final = 60_000
"""The largest picture, width times height: 300 x 200, and it fits a packet three bytes a pixel."""

Device = Literal["pins", "bus", "camera", "hand"]
Function = Literal["input", "output"]
Pull = Literal["floating", "up", "down"]
Button = Literal["park", "park_by_sensor", "stop"]

SOCKET: Final = "var/world.socket"
"""Where a world listens unless told otherwise."""

# As `device.drivers.gpio.Bcm`, without loading gpiozero where only a command's help is wanted.
_Pin = Annotated[int, msgspec.Meta(ge=0, le=27)]
_Level = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Side = Annotated[int, msgspec.Meta(ge=16, le=1280)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Length = Annotated[int, msgspec.Meta(ge=0, le=256)]
_Bytes = Annotated[bytes, msgspec.Meta(max_length=256)]
_Errno = Annotated[int, msgspec.Meta(ge=1, le=4095)]
_Text = Annotated[str, msgspec.Meta(max_length=200)]
_Way = Annotated[float, msgspec.Meta(ge=-10_000.0, le=10_000.0)]


class _Wired(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """A message; its class is its tag."""


class Open(_Wired, frozen=True):
    """A connection's first message: the device that it is for."""

    device: Device


class Claim(_Wired, frozen=True):
    """Take a pin for this process, as the kernel's GPIO lines are taken; outputs begin low."""

    pin: _Pin
    function: Function
    pull: Pull = "floating"


class Write(_Wired, frozen=True):
    """Put an output at a level, or a pulse-width share; nobody answers."""

    pin: _Pin
    level: _Level


class Transfer(_Wired, frozen=True):
    """One exchange on the bus: write (unless None), then read (unless 0).

    The answer has the same `number`, by which one that came too late is told from the next.
    """

    number: _Number
    address: Annotated[int, msgspec.Meta(ge=0, le=127)]
    written: _Bytes | None
    wanted: _Length


class Stream(_Wired, frozen=True):
    """Send pictures of this size (RGB) and not more often than every `frame_us`."""

    width: _Side
    height: _Side
    frame_us: Annotated[int, msgspec.Meta(ge=8_000, le=1_000_000)]


class Press(_Wired, frozen=True):
    """Press a button, or let it go."""

    button: Button
    is_down: bool


class Put(_Wired, frozen=True):
    """Lift the car and put it down so, standing."""

    x_mm: _Way
    z_mm: Annotated[float, msgspec.Meta(ge=0.0, le=10_000.0)]
    heading_deg: Annotated[float, msgspec.Meta(ge=-80.0, le=80.0)]


class Look(_Wired, frozen=True):
    """Ask what is to be seen of the car."""


class Done(_Wired, frozen=True):
    """It is done."""


class Failed(_Wired, frozen=True):
    """It is not done; `errno` says why, as the kernel would."""

    errno: _Errno
    text: _Text
    number: _Number = 0


class Claimed(_Wired, frozen=True):
    """The pin is yours and at this level."""

    pin: _Pin
    level: _Level


class Changed(_Wired, frozen=True):
    """Inputs that changed, in order: pin, level, and when (microseconds)."""

    edges: tuple[tuple[_Pin, bool, int], ...]


class Read(_Wired, frozen=True):
    """What was read from the bus."""

    number: _Number
    data: _Bytes


class Picture(_Wired, frozen=True):
    """A picture with the middle of its exposure; height x width x 3 bytes, red first."""

    exposed_us: int
    exposure_us: int
    pixels: Annotated[bytes, msgspec.Meta(max_length=3 * PIXELS)]


class Seen(_Wired, frozen=True):
    """What a person beside the car sees at `now_us`; times are the machine's monotonic ones.

    `is_driven` tells whether any motor gets current, `since_us` from when on that is so.
    """

    now_us: int
    scene: str
    distance_mm: float
    x_mm: float
    z_mm: float
    heading_deg: float
    speeds_mm_s: tuple[float, float]
    contacts: int
    lamp: bool
    buzzer: bool
    is_driven: bool
    since_us: int


ToWorld = Open | Claim | Write | Transfer | Stream | Press | Put | Look
FromWorld = Done | Failed | Claimed | Changed | Read | Picture | Seen

M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()
_to_world: msgspec.msgpack.Decoder[ToWorld] = msgspec.msgpack.Decoder(ToWorld)
_from_world: msgspec.msgpack.Decoder[FromWorld] = msgspec.msgpack.Decoder(FromWorld)


def encode(message: ToWorld | FromWorld) -> bytes:
    """Return the packet that holds `message`."""
    return _encoder.encode(message)


def to_world(packet: bytes) -> ToWorld:
    """Return what a car sent.

    Raises:
        RefusedError: it is none of the messages that a world understands.
    """
    return _decoded(_to_world, packet)


def from_world(packet: bytes) -> FromWorld:
    """Return what a world sent.

    Raises:
        RefusedError: it is none of the messages that a car understands.
    """
    return _decoded(_from_world, packet)


def _decoded(decoder: msgspec.msgpack.Decoder[M], packet: bytes) -> M:
    try:
        message = decoder.decode(packet)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError(f"a packet that is no message: {error}"[:200]) from None
    if not codec.is_finite(message):
        raise RefusedError(f"{type(message).__name__}: a number is not finite")
    return message
