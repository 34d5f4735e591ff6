"""Pictures in and out: JPEG with limits, and frame -> model input in one function for all.

Laws:
- trainer and car prepare a picture with the same function, so no difference between them can hide;
- preparing a prepared picture changes nothing;
- a JPEG's size is read from its header before anything is unpacked.

Pictures are RGB, uint8, height x width x 3.
"""

import struct
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from shared.errors import RefusedError
from shared.task import Task

Pixels = npt.NDArray[np.uint8]

PREPROCESSING_ID = "rgb-area-v1"
"""Names this module's `prepare`; a model's manifest must name the same one."""

JPEG_QUALITY = 92
_MAX_PIXELS = 4_000_000
_MAX_JPEG_BYTES = 4 * 1024 * 1024
# TEM, RST0..RST7, SOI and EOI stand alone; 00 is no marker.
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})


def prepare(frame: Pixels, task: Task) -> Pixels:
    """Return `frame` at the task's picture size, RGB uint8; area-averaged where it shrinks.

    A camera should capture small: averaging costs about 40 times more from 640x480 than from twice
    the size (614 us against 13 us on the design machine).
    """
    if frame.shape[:2] == (task.picture_height, task.picture_width):
        return frame
    size = (task.picture_width, task.picture_height)
    resized: Any = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def encode_jpeg(picture: Pixels) -> bytes:
    """Return `picture` as a JPEG of quality 92."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {picture.shape}")
    return bytes(data)


def decode_jpeg(data: bytes) -> Pixels:
    """Return the picture in a JPEG of at most 4 MiB and 4 million pixels.

    Raises:
        RefusedError: too large, or not a JPEG that can be read.
    """
    if len(data) > _MAX_JPEG_BYTES:
        raise RefusedError(f"JPEG of {len(data)} bytes, limit {_MAX_JPEG_BYTES}")
    height, width = jpeg_size(data)
    if height * width > _MAX_PIXELS:
        raise RefusedError(f"JPEG of {width}x{height}, limit {_MAX_PIXELS} pixels")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise RefusedError(f"unreadable JPEG: {error}"[:200]) from None
    if bgr is None:
        raise RefusedError("unreadable JPEG")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) from a JPEG's frame header (ITU-T T.81, B.2.2), unpacking nothing.

    Raises:
        RefusedError: there is no frame header.
    """
    if data[:2] != b"\xff\xd8":
        raise RefusedError("not a JPEG")
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xFF:
            at += 1
            continue
        # What has no length, or none that can be, is read differently by every decoder: a header
        # that this loop steps over could then declare a far larger picture.
        if marker in _WITHOUT_LENGTH or length < 2:
            break
        # SOF0..SOF15, less DHT (C4), JPG (C8) and DAC (CC), which share the range.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            if height == 0 or width == 0:
                break
            return height, width
        at += 2 + length
    raise RefusedError("JPEG without a frame header")
