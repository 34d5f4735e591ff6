"""The camera driver speaks Picamera2 and hands out stamped RGB pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from device.drivers.camera import Picamera2Camera
from shared.errors import HardwareError


class Request:
    """As `picamera2.request.CompletedRequest`: counts its references, has one stream."""

    def __init__(
        self, stamp_ns: object, shape: tuple[int, ...] = (75, 100, 3), *, grey: int = 7
    ) -> None:
        self.references = 1
        self.copies = 0
        self._stamp_ns, self._shape, self._grey = stamp_ns, shape, grey

    def acquire(self) -> None:
        self.references += 1

    def release(self) -> None:
        self.references -= 1
        assert self.references >= 0

    def get_metadata(self) -> dict[str, Any]:
        return {} if self._stamp_ns is None else {"SensorTimestamp": self._stamp_ns}

    def make_array(self, name: str) -> Any:
        assert name == "main"
        assert self.references > 0
        self.copies += 1
        made = np.full(self._shape, 7, dtype=np.uint8)
        made[1, 1] = self._grey
        return made


class Picam2:
    """As `picamera2.Picamera2`, configured: delivers requests to `post_callback`."""

    def __init__(self, *, starts: bool = True) -> None:
        self.post_callback: Callable[[Any], object] | None = None
        self.log: list[str] = []
        self._starts = starts

    def start(self) -> None:
        self.log.append("start")
        if not self._starts:
            raise RuntimeError("camera in use")

    def stop(self) -> None:
        self.log.append("stop")

    def close(self) -> None:
        self.log.append("close")

    def deliver(self, request: Request) -> Request:
        if self.post_callback is not None:
            self.post_callback(request)
        request.release()
        return request


def test_the_newest_frame_carries_the_sensors_own_moment() -> None:
    picam2 = Picam2()
    camera = Picamera2Camera(picam2, "rear")
    assert camera.newest() is None
    picam2.deliver(Request(1_000_000_999))
    picam2.deliver(Request(2_000_000_999))
    frame = camera.newest()
    assert frame is not None
    assert (frame.exposed_us, frame.camera, frame.pixels.shape) == (2_000_000, "rear", (75, 100, 3))
    assert camera.newest() is frame


def test_a_picture_that_repeats_the_former_is_no_newer_one() -> None:
    picam2 = Picam2()
    camera = Picamera2Camera(picam2, "rear")
    seen = []
    for number, grey in enumerate((7, 7, 8, 8, 7), start=1):
        picam2.deliver(Request(number * 33_000_000, grey=grey))
        frame = camera.newest()
        assert frame is not None
        seen.append((frame.exposed_us, int(frame.pixels[1, 1, 0])))
    assert seen == [(33_000, 7), (33_000, 7), (99_000, 8), (99_000, 8), (165_000, 7)]


def test_only_what_is_asked_for_is_copied_and_every_buffer_goes_back() -> None:
    picam2 = Picam2()
    camera = Picamera2Camera(picam2, "rear")
    requests = [picam2.deliver(Request(number * 33_333_000)) for number in range(1, 6)]
    assert [request.references for request in requests] == [0, 0, 0, 0, 1]
    camera.newest()
    last = picam2.deliver(Request(10**9))
    camera.close()
    assert [request.references for request in [*requests, last]] == [0] * 6
    assert [request.copies for request in [*requests, last]] == [0, 0, 0, 0, 1, 0]
    assert picam2.log == ["start", "stop", "close"]


@pytest.mark.parametrize(
    "request_", [Request(None), Request("now"), Request(1, (75, 100, 4)), Request(1, (112, 100))]
)
def test_what_is_no_stamped_rgb_picture_is_an_error_and_its_buffer_goes_back(
    request_: Request,
) -> None:
    picam2 = Picam2()
    camera = Picamera2Camera(picam2, "rear")
    picam2.deliver(request_)
    with pytest.raises(HardwareError, match="camera rear"):
        camera.newest()
    assert request_.references == 0


def test_a_camera_that_does_not_start_is_an_error() -> None:
    with pytest.raises(HardwareError, match="camera in use"):
        Picamera2Camera(Picam2(starts=False), "rear")
