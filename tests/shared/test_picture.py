"""Pictures in and out, and the JPEGs that are meant to hurt."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import characteristics, picture
from shared.errors import RefusedError
from shared.picture import Pixels
from shared.task import WALL_DISTANCE


def noise(height: int, width: int, seed: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def frame_header(height: int, width: int, marker: int = 0xC0) -> bytes:
    """SOF0 for three components (ITU-T T.81, B.2.2)."""
    return struct.pack(">BBHBHHB", 0xFF, marker, 17, 8, height, width, 3) + b"\x01\x11\x00" * 3


SMALL = picture.encode_jpeg(noise(75, 100))


@settings(deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 9))
def test_any_frame_becomes_a_picture_of_the_tasks_size_and_again_changes_nothing(
    height: int, width: int, seed: int
) -> None:
    prepared = picture.prepare(noise(height, width, seed), WALL_DISTANCE)
    assert prepared.shape == (75, 100, 3)
    assert prepared.dtype == np.uint8
    assert np.array_equal(picture.prepare(prepared, WALL_DISTANCE), prepared)


def test_shrinking_averages_and_keeps_the_order_of_colours() -> None:
    frame = np.zeros((150, 200, 3), dtype=np.uint8)
    frame[:, :, 0] = 200
    frame[::2, :, 2] = 100
    assert picture.prepare(frame, WALL_DISTANCE)[10, 10].tolist() == [200, 0, 50]


def test_a_jpeg_keeps_size_and_colours() -> None:
    flat = np.full((75, 100, 3), (200, 100, 50), dtype=np.uint8)
    data = picture.encode_jpeg(flat)
    assert picture.jpeg_size(data) == (75, 100)
    assert np.abs(picture.decode_jpeg(data).astype(int) - flat).max() <= 3


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"\xff\xd8")
@example(data=b"\xff\xd8\xff\xe0\x00\x00")
def test_any_bytes_are_a_picture_or_refused(data: bytes) -> None:
    for each in (data, b"\xff\xd8" + data, b"\xff\xd8" + frame_header(8, 8) + data):
        with pytest.raises(RefusedError):
            picture.decode_jpeg(each)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(2, len(SMALL) - 1), data=st.binary(max_size=6), cut=st.booleans())
def test_a_damaged_jpeg_is_a_picture_of_its_declared_size_or_refused(
    at: int, data: bytes, *, cut: bool
) -> None:
    damaged = SMALL[:at] + data + (b"" if cut else SMALL[at + len(data) :])
    try:
        size = picture.jpeg_size(damaged)
        decoded = picture.decode_jpeg(damaged)
    except RefusedError:
        return
    assert decoded.shape == (*size, 3)


@pytest.mark.parametrize(
    ("height", "width"), [(65_500, 65_500), (2_001, 2_000), (1, 65_535 * 2 % 65_536)]
)
def test_a_header_that_declares_too_much_is_refused_before_anything_is_unpacked(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("unpacked"))
    data = b"\xff\xd8" + frame_header(height, width)
    if height * width <= 4_000_000:
        assert picture.jpeg_size(data) == (height, width)
    else:
        with pytest.raises(RefusedError, match="limit 4000000 pixels"):
            picture.decode_jpeg(data)


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(RefusedError, match="limit 4194304"):
        picture.decode_jpeg(SMALL + bytes(4 * 1024 * 1024))


BIG = frame_header(60_000, 60_000)
COMMENT_BYTES = 65_533
# libjpeg skips TEM and fill bytes and meets the comment, then the large header; a reader that takes
# the comment's marker for a length steps over it, into the small header that the comment hides.
HIDDEN = b"\xff\xfe" + struct.pack(">H", COMMENT_BYTES)


@pytest.mark.parametrize(
    "start",
    [
        b"\xff\x01",
        b"\xff\xd0",
        b"\xff\xd7",
        b"\xff",
        b"\xff\xff\xff",
        b"\xff\x00",
        b"\xff\xe1\x00\x00",
    ],
)
def test_no_reader_is_led_past_the_header_that_counts(start: bytes) -> None:
    hidden = HIDDEN + frame_header(75, 100) * (COMMENT_BYTES // 19)
    hidden = hidden.ljust(COMMENT_BYTES + 2, b"\0")
    for shift in range(19):
        data = b"\xff\xd8" + start + HIDDEN + bytes(shift) + hidden[4 : COMMENT_BYTES + 2 - shift]
        with pytest.raises(RefusedError):
            picture.decode_jpeg(data + BIG + SMALL[2:])


def test_fill_bytes_before_a_marker_are_allowed() -> None:
    assert picture.jpeg_size(b"\xff\xd8\xff\xff\xff" + SMALL[2:][1:]) == (75, 100)


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC])
def test_tables_that_share_the_frame_headers_range_are_none(marker: int) -> None:
    with pytest.raises(RefusedError):
        picture.jpeg_size(b"\xff\xd8" + frame_header(75, 100, marker))


def test_a_picture_of_no_height_is_refused() -> None:
    with pytest.raises(RefusedError):
        picture.jpeg_size(b"\xff\xd8" + frame_header(0, 100))


def test_characteristics_of_a_flat_picture_are_its_colour_and_no_texture() -> None:
    measured = characteristics.measure(np.full((75, 100, 3), (200, 100, 50), dtype=np.uint8))
    assert (measured.mean_red, measured.mean_green, measured.mean_blue) == (200, 100, 50)
    assert (measured.contrast, measured.texture, measured.keypoints) == (0, 0, 0)
    # HSV by hand: V = max; S = 255 (max - min) / max; H = 60 (g - b) / (max - min) / 2.
    assert measured.brightness == 200
    assert measured.saturation == pytest.approx(255 * 150 / 200, abs=0.5)
    assert measured.hue == pytest.approx(60 * 50 / 150 / 2, abs=0.5)


def test_characteristics_tell_a_textured_picture_from_a_flat_one() -> None:
    rough = characteristics.measure(noise(75, 100))
    assert rough.texture > 1000
    assert rough.contrast > 20
    assert rough.keypoints > 50


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_characteristics_stay_on_their_scales(seed: int) -> None:
    measured = characteristics.measure(noise(75, 100, seed))
    for name in ("brightness", "saturation", "mean_red", "mean_green", "mean_blue"):
        assert 0 <= getattr(measured, name) <= 255
    assert 0 <= measured.hue <= 179
