"""The rear camera through Picamera2.

Laws:
- a frame's time is the sensor's own stamp, never the moment of its arrival: from exposure to Python
  pass 17-21 ms on a Pi 4, which is millimetres of label error;
- only the newest completed request is held, and its pixels are copied when somebody asks for them,
  so that an idle car copies nothing and the camera never waits for us.

libcamera stamps in nanoseconds of CLOCK_BOOTTIME, which on a machine that never suspends is the
monotonic clock of `shared.clock`.

The Protocols here are all that we use of Picamera2; `tests/contracts` compares them with its
sources.
"""

import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from device.hardware import Frame
from shared.errors import HardwareError
from shared.picture import Pixels

_STREAM: Final = "main"
_FORMAT: Final = "BGR888"
_BUFFERS: Final = 4
"""One is filled, one held here, one shown to the model, one spare."""
_GLANCE: Final = 8
"""Every eighth pixel of every eighth row is looked at first: a microsecond."""


class CompletedRequest(Protocol):
    """What this driver asks of `picamera2.request.CompletedRequest`."""

    def acquire(self) -> None:
        """Keep the request's buffers from being used again."""
        ...

    def release(self) -> None:
        """Give the buffers back."""
        ...

    def get_metadata(self) -> dict[str, Any]:
        """Return the metadata, with `SensorTimestamp` in nanoseconds."""
        ...

    def make_array(self, name: str) -> Any:
        """Return a copy of the named stream's picture."""
        ...


class VideoStream(Protocol):
    """What this driver asks of a configured `picamera2.Picamera2`."""

    post_callback: Callable[[Any], object] | None

    def start(self) -> None:
        """Start delivering frames to `post_callback`."""
        ...

    def stop(self) -> None:
        """Stop delivering frames."""
        ...

    def close(self) -> None:
        """Release the camera."""
        ...


class UnconfiguredCamera(VideoStream, Protocol):
    """What this driver asks of a `picamera2.Picamera2` before its configuration."""

    def create_video_configuration(
        self,
        *,
        main: dict[str, Any],
        controls: dict[str, Any],
        buffer_count: int,
        queue: bool,
    ) -> dict[str, Any]:
        """Return a configuration."""
        ...

    def configure(self, camera_config: dict[str, Any]) -> None:
        """Take a configuration."""
        ...


def configure(picam2: UnconfiguredCamera, *, width: int, height: int, frame_us: int) -> None:
    """Have the camera deliver RGB pictures of `width` x `height`, one every `frame_us`.

    Raises:
        RuntimeError: the camera runs, or cannot do this; Picamera2's own error.
    """
    picam2.configure(
        picam2.create_video_configuration(
            main={"size": (width, height), "format": _FORMAT},
            controls={"FrameDurationLimits": (frame_us, frame_us)},
            buffer_count=_BUFFERS,
            # A queued frame is an old frame: only take what is exposed after the request.
            queue=False,
        )
    )


class Picamera2Camera:
    """A `Camera` on a configured, not yet started Picamera2.

    `configure` is what configures it: arrays of Picamera2's "BGR888" come in the order R, G, B.
    """

    def __init__(self, picam2: VideoStream, name: str) -> None:
        """Start `picam2`; its frames are those of the camera `name`.

        Raises:
            HardwareError: the camera does not start.
        """
        self._picam2 = picam2
        self._name = name
        self._lock = threading.Lock()
        self._held: CompletedRequest | None = None
        self._frame: Frame | None = None
        self._picam2.post_callback = self._completed
        try:
            self._picam2.start()
        except (RuntimeError, OSError) as error:
            raise HardwareError(f"camera {name} does not start: {error}") from error

    def newest(self) -> Frame | None:
        """Return the newest complete frame, the same one until a newer exists; None before any.

        A picture that repeats the former to the bit is none, whatever its time stamp says: noise
        never repeats, a camera that hangs or sees nothing at all does. So its last frame grows old.

        Raises:
            HardwareError: the camera delivered something else than stamped RGB pictures.
        """
        request = self._swap(None)
        if request is not None:
            try:
                self._frame = self._to_frame(request)
            finally:
                request.release()
        return self._frame

    def close(self) -> None:
        """Stop the camera and release it; closing again does nothing."""
        self._picam2.post_callback = None
        request = self._swap(None)
        if request is not None:
            request.release()
        self._picam2.stop()
        self._picam2.close()

    def _completed(self, request: CompletedRequest) -> None:
        # Runs in the camera's thread.
        request.acquire()
        former = self._swap(request)
        if former is not None:
            former.release()

    def _swap(self, request: CompletedRequest | None) -> CompletedRequest | None:
        with self._lock:
            former, self._held = self._held, request
        return former

    def _to_frame(self, request: CompletedRequest) -> Frame:
        stamp_ns = request.get_metadata().get("SensorTimestamp")
        if not isinstance(stamp_ns, int):
            raise HardwareError(f"camera {self._name}: a frame without SensorTimestamp")
        pixels = request.make_array(_STREAM)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise HardwareError(
                f"camera {self._name}: pictures of shape {pixels.shape} and type {pixels.dtype}, "
                f"expected height x width x 3 of uint8: configure the main stream as {_FORMAT}"
            )
        if self._frame is not None and _repeats(pixels, self._frame.pixels):
            return self._frame
        return Frame(pixels=pixels, exposed_us=stamp_ns // 1000, camera=self._name)


def _repeats(pixels: Pixels, former: Pixels) -> bool:
    """Tell whether a picture is the former one to the bit; a glance decides almost always."""
    return np.array_equal(pixels[::_GLANCE, ::_GLANCE], former[::_GLANCE, ::_GLANCE]) and (
        np.array_equal(pixels, former)
    )
