"""Foreign bytes become a message or are refused; nothing else."""

import math
from contextlib import suppress
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.drivers.gpio import Bcm
from hardware_sim.apart import wire
from shared.errors import RefusedError


@given(st.binary(max_size=300))
def test_bytes_are_a_message_or_refused(packet: bytes) -> None:
    for decode in (wire.to_world, wire.from_world):
        with suppress(RefusedError):
            assert type(decode(packet)) in get_args(wire.ToWorld | wire.FromWorld)


@given(st.data())
def test_a_damaged_message_is_a_message_or_refused(data: st.DataObject) -> None:
    whole = wire.encode(wire.Transfer(number=7, address=0x29, written=b"\xc0", wanted=1))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    with suppress(RefusedError):
        assert isinstance(wire.to_world(damaged), get_args(wire.ToWorld))


@pytest.mark.parametrize(
    "message",
    [
        wire.Open(device="pins"),
        wire.Write(pin=12, level=0.25),
        wire.Transfer(number=2**63 - 1, address=0x29, written=None, wanted=256),
        wire.Put(x_mm=0.0, z_mm=300.0, heading_deg=-5.0),
    ],
)
def test_a_message_comes_out_as_it_went_in(message: wire.ToWorld) -> None:
    assert wire.to_world(wire.encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        wire.Write(pin=28, level=0.5),
        wire.Write(pin=12, level=1.5),
        wire.Write(pin=12, level=math.nan),
        wire.Put(x_mm=math.inf, z_mm=1.0, heading_deg=0.0),
        wire.Transfer(number=1, address=0x29, written=bytes(257), wanted=0),
        wire.Stream(width=8, height=75, frame_us=33_333),
    ],
)
def test_what_is_out_of_its_limits_is_refused(message: wire.ToWorld) -> None:
    with pytest.raises(RefusedError):
        wire.to_world(wire.encode(message))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RefusedError):
        wire.to_world(b"\x91" * 100_000 + b"\xc0")


def test_the_largest_picture_fits_a_packet() -> None:
    picture = wire.Picture(exposed_us=2**62, exposure_us=2**31, pixels=bytes(3 * wire.PIXELS))
    assert len(wire.encode(picture)) <= wire.PACKET_BYTES


def test_pins_are_numbered_as_the_drivers_number_them() -> None:
    claims = {field.name: field.type for field in msgspec.structs.fields(wire.Claim)}
    assert claims["pin"] == Bcm
