"""Camera and I2C bus whose wires end in another process's world: what stands below the drivers.

Laws:
- a picture is in this process before anybody asks for it: it arrives in the camera's own thread, as
  Picamera2's do, and no control loop waits for a renderer or a socket;
- a transfer on the bus waits for its answer, as the kernel's does, and for a bounded time;
- what breaks is an `OSError`, or a camera that delivers no more.
"""

import errno
import logging
import threading
from typing import Any

import numpy as np

from device.drivers.camera import CompletedRequest as Request
from hardware_sim.apart import wire
from hardware_sim.apart.link import Link
from hardware_sim.busio_face import BusioFace
from hardware_sim.camera import Callback
from hardware_sim.camera_request import CompletedRequest
from shared.picture import Pixels

_log = logging.getLogger(__name__)


class ApartBus(BusioFace):
    """The I2C bus of a world, as `busio.I2C`."""

    def __init__(self, link: Link) -> None:
        """Talk over `link`, opened for the bus with a control loop's patience."""
        super().__init__()
        self._link = link
        self._number = 0

    def exchange(self, address: int, written: bytes | None, wanted: int) -> bytes:
        """Write (unless None), then read `wanted` bytes (unless 0), and return what was read.

        Raises:
            OSError: nothing answers at `address`, or the world is gone.
        """
        self._number += 1
        self._link.say(
            wire.Transfer(number=self._number, address=address, written=written, wanted=wanted)
        )
        while True:
            answer = self._link.hear()
            if isinstance(answer, wire.Failed) and answer.number == self._number:
                raise OSError(answer.errno, answer.text)
            if isinstance(answer, wire.Read) and answer.number == self._number:
                return _of_length(answer.data, wanted)

    def deinit(self) -> None:
        """Release the bus."""
        super().deinit()
        self._link.close()


def _of_length(data: bytes, wanted: int) -> bytes:
    if len(data) != wanted:
        raise OSError(errno.EPROTO, f"the world answered {len(data)} bytes of {wanted}")
    return data


class _Buffer:
    """One picture, as the source of a request."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    def array_of(self, exposed_us: int, name: str) -> Pixels:  # noqa: ARG002 - there is but one
        if name != "main":
            raise RuntimeError(f"Stream {name!r} is not defined")
        return self._pixels.copy()

    def returned(self) -> None:
        """Do nothing: the bytes are this process's own."""


class ApartPicamera2:
    """A configured `Picamera2` of one video stream, in another process's world."""

    def __init__(self, link: Link, *, width: int, height: int, frame_us: int) -> None:
        """Be ready to stream pictures of that size over `link`, opened for the camera."""
        self.post_callback: Callback | None = None
        self._link = link
        self._shape = (height, width, 3)
        self._wanted = wire.Stream(width=width, height=height, frame_us=frame_us)
        self._is_closing = False
        self._thread = threading.Thread(target=self._receive, name="camera", daemon=True)

    def start(self) -> None:
        """Start delivering frames through `post_callback`.

        Raises:
            OSError: the camera cannot do this, or the world is gone.
        """
        self._link.ask(self._wanted)
        self._link.listen()
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering frames."""
        self._is_closing = True
        self._link.shut()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Release the camera."""
        self.stop()
        self._link.close()

    def _receive(self) -> None:
        while True:
            try:
                self._deliver(self._link.hear())
            except OSError as error:
                if not self._is_closing:
                    _log.error("camera_lost error=%s", error.strerror)
                return

    def _deliver(self, message: wire.FromWorld) -> None:
        if not isinstance(message, wire.Picture) or len(message.pixels) != np.prod(self._shape):
            raise OSError(errno.EPROTO, "the world sent something else than a picture")
        callback = self.post_callback
        if callback is None:
            return
        pixels = np.frombuffer(message.pixels, dtype=np.uint8).reshape(self._shape)
        metadata: dict[str, Any] = {
            "SensorTimestamp": message.exposed_us * 1000,
            "ExposureTime": message.exposure_us,
            "AnalogueGain": 1.0,
        }
        request: Request = CompletedRequest(_Buffer(pixels), metadata, message.exposed_us)
        callback(request)
        request.release()
