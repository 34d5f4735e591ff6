"""The instruments of a car, one Protocol each, and the backend that opens them.

Laws:
- nothing above this module knows a vendor: real and simulated instruments differ by entry point
  only (group `parkfleet.hardware`: `pi`, `sim`, `sim-world`, `replay`);
- what cuts a backend's motors from another process is an entry point too (group
  `parkfleet.cutoff`); a backend without one has no motors that outlive its process;
- no instrument call blocks the control loop: what is not there yet is None;
- every moment is monotonic microseconds of the backend's own clock; lengths are millimetres;
- an instrument that fails raises `HardwareError`, never a vendor's exception.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal, Protocol

from shared.clock import Clock
from shared.errors import HardwareError, UsageError
from shared.picture import Pixels
from shared.samples import SensorStatus

_GROUP = "parkfleet.hardware"
_CUTOFF_GROUP = "parkfleet.cutoff"

InstrumentName = Literal["camera", "range sensor", "wheels", "lamp and buzzer", "controls"]
"""What people call an instrument."""


class NotOpenedError(HardwareError):
    """An instrument did not open."""

    def __init__(self, instrument: InstrumentName, reason: str) -> None:
        """Name the instrument, beside the reason."""
        super().__init__(reason)
        self.instrument = instrument


@contextmanager
def opening(instrument: InstrumentName) -> Iterator[None]:
    """Have a `HardwareError` of a block name the instrument that the block opens.

    Raises:
        NotOpenedError: the block raised `HardwareError`.
    """
    try:
        yield
    except HardwareError as error:
        raise NotOpenedError(instrument, str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture; `exposed_us` is when the sensor took it, not when it arrived."""

    pixels: Pixels
    exposed_us: int
    camera: str


@dataclass(frozen=True, kw_only=True)
class RangeReading:
    """One range measurement; `range_mm` is None unless `status` is "ok"."""

    range_mm: float | None
    status: SensorStatus
    measured_us: int


class Camera(Protocol):
    """The rear camera."""

    def newest(self) -> Frame | None:
        """Return the newest complete frame, the same one until a newer exists; None before any."""
        ...

    def close(self) -> None:
        """Release the camera."""
        ...


class RangeSensor(Protocol):
    """The reference sensor."""

    def poll(self) -> RangeReading | None:
        """Return a measurement that finished since the last call, or None."""
        ...

    def close(self) -> None:
        """Stop measuring and release the bus."""
        ...


class Wheels(Protocol):
    """Two motors and their encoders."""

    def set_duty(self, left: float, right: float) -> None:
        """Drive each wheel with a duty of -1 (full back) to 1 (full forward)."""
        ...

    def edges(self) -> tuple[int, int]:
        """Return the encoder edges counted since the start, left and right."""
        ...

    def stop(self) -> None:
        """Cut both motors; must work from any state and any thread."""
        ...

    def close(self) -> None:
        """Cut both motors and release the pins."""
        ...


class Signals(Protocol):
    """What the car says to people nearby: LED and buzzer."""

    def set_led(self, *, on: bool) -> None:
        """Switch the lamp."""
        ...

    def set_buzzer(self, *, on: bool) -> None:
        """Switch the buzzer; the beat is the caller's."""
        ...

    def close(self) -> None:
        """Switch both off and release the pins."""
        ...


Press = Literal["park", "park_by_sensor", "stop"]
"""What a person can ask for at the car: button or gamepad X, Y and B."""


class Controls(Protocol):
    """What people say to the car."""

    def pressed(self) -> Press | None:
        """Return the oldest press that was not yet returned, or None."""
        ...

    def close(self) -> None:
        """Release the pins."""
        ...


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """A car's instruments and the clock they live by; `range_sensor` None means not fitted.

    `is_recorded` says that readings are labels which somebody recorded: they are those of another
    sensor, and no calibration of this car's is taken off them.
    """

    clock: Clock
    camera: Camera
    range_sensor: RangeSensor | None
    wheels: Wheels
    signals: Signals
    controls: Controls
    is_recorded: bool = False

    def close(self) -> None:
        """Stop the wheels first, then release everything, also where some of it fails.

        Raises:
            HardwareError: what failed first.
        """
        parts = (self.wheels, self.signals, self.controls, self.camera, self.range_sensor)
        failed: HardwareError | None = None
        for step in (self.wheels.stop, *(part.close for part in parts if part is not None)):
            try:
                step()
            except HardwareError as error:
                failed = failed or error
        if failed is not None:
            raise failed


class Cutoff(Protocol):
    """Cuts the motors of a car whose driving process is gone."""

    def cut(self) -> None:
        """Cut both motors; call it again as often as you like.

        Raises:
            HardwareError: they could not be reached.
        """
        ...

    def close(self) -> None:
        """Release what `cut` needs."""
        ...


class NoMotors:
    """The `Cutoff` of a backend whose motors end with the process that drives them."""

    def cut(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Backend(Protocol):
    """An entry point of the group `parkfleet.hardware`."""

    def __call__(self, configuration: Path | None) -> Instruments:
        """Open all instruments as the backend's own configuration file says."""
        ...


def require_backend(backend: str) -> None:
    """Return quietly where there is a backend of that name; nothing is opened.

    Raises:
        UsageError: there is none; the text names those there are.
    """
    _entry(backend)


def open_instruments(backend: str, configuration: Path | None = None) -> Instruments:
    """Open the instruments of the named backend.

    Raises:
        UsageError: there is no such backend, or its libraries are not installed.
        HardwareError: an instrument does not answer; `NotOpenedError` where it is known which.
    """
    entry = _entry(backend)
    try:
        opener: Backend = entry.load()
    except ModuleNotFoundError as error:
        raise UsageError(
            f"hardware backend {backend!r} needs {error.name}, which is not installed: "
            f"pip install 'parkfleet[{backend}]'"
        ) from None
    return opener(configuration)


def open_cutoff(backend: str, configuration: Path | None = None) -> Cutoff:
    """Return what cuts the motors of the named backend from a process that does not drive.

    Raises:
        UsageError: there is no such backend, its configuration is wrong, or its libraries are not
            installed.
        HardwareError: this machine has no such pins.
    """
    _entry(backend)
    for entry in entry_points(group=_CUTOFF_GROUP):
        if entry.name == backend:
            cutoff: Cutoff = entry.load()(configuration)
            return cutoff
    return NoMotors()


def _entry(backend: str) -> EntryPoint:
    known = {entry.name: entry for entry in entry_points(group=_GROUP)}
    if backend not in known:
        raise UsageError(f"no hardware backend {backend!r}; there are: {', '.join(sorted(known))}")
    return known[backend]
