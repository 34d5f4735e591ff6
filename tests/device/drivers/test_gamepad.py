"""A gamepad speaks beside the buttons, and its silence stops nothing but its loss does."""

import errno
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gpiozero.pins.mock import MockFactory, MockPWMPin

from device.drivers.gamepad import GamepadControls, MergedControls, find_gamepads
from device.drivers.gpio import GpioControls, Pins
from device.hardware import Controls, Press
from tests.device.fakes import FakeClock, World

X, Y, B, A = 0x133, 0x134, 0x131, 0x130
KEY, ABSOLUTE = 1, 3


@dataclass(frozen=True)
class Event:
    code: int
    value: int = 1
    type: int = KEY


@dataclass
class Pad:
    """An input device as evdev shows one: events wait until they are read, or it is gone."""

    events: deque[Event] = field(default_factory=deque)
    is_gone: bool = False
    is_closed: bool = False

    def read_one(self) -> Event | None:
        if self.is_gone:
            raise OSError(errno.ENODEV, "No such device")
        return self.events.popleft() if self.events else None

    def close(self) -> None:
        self.is_closed = True
        if self.is_gone:
            raise OSError(errno.ENODEV, "No such device")


def presses(controls: Controls) -> list[Press]:
    found = []
    while (press := controls.pressed()) is not None:
        found.append(press)
    return found


def pad(events: Iterable[Event] = ()) -> Pad:
    return Pad(deque(events))


def test_x_parks_y_parks_by_the_sensor_b_stops_and_nothing_else_does_anything() -> None:
    one = pad(
        [Event(X), Event(X, 0), Event(A), Event(0, 255, ABSOLUTE), Event(Y), Event(Y, 2), Event(B)]
    )
    controls = GamepadControls(lambda: one, FakeClock(World()))
    assert presses(controls) == ["park", "park_by_sensor", "stop"]
    controls.close()
    assert one.is_closed


def test_a_gamepad_that_goes_away_stops_the_car_once_and_is_taken_up_when_it_is_back() -> None:
    world = World()
    first, second = pad([Event(X)]), pad([Event(Y)])
    found: list[Pad | None] = [first, None, second]
    controls = GamepadControls(lambda: found.pop(0), FakeClock(world))
    first.events.clear()
    first.is_gone = True
    assert presses(controls) == ["stop"]
    assert first.is_closed
    assert presses(controls) == []
    for _ in range(2):
        world.now_us += 2_000_000
        seen = presses(controls)
    assert seen == ["park_by_sensor"]


def test_without_a_gamepad_one_is_looked_for_now_and_then_only() -> None:
    world, looks = World(), []
    controls = GamepadControls(lambda: looks.append(world.now_us), FakeClock(world))
    for _ in range(300):
        world.now_us += 33_333
        assert controls.pressed() is None
    controls.close()
    assert 4 <= len(looks) <= 6


def test_buttons_and_gamepad_are_one_set_of_controls() -> None:
    factory, pins = MockFactory(pin_class=MockPWMPin), Pins()
    one = pad([Event(X), Event(B)])
    merged = MergedControls(
        (GpioControls(pins, factory), GamepadControls(lambda: one, FakeClock(World())))
    )
    assert presses(merged) == ["park", "stop"]
    merged.close()
    assert one.is_closed


def bitmap(codes: Iterable[int], bits: int) -> str:
    """Return what the kernel prints of a device's keys: longs in hexadecimal, highest first."""
    value = sum(1 << code for code in codes)
    words = [value >> at & (1 << bits) - 1 for at in range(0, max(value.bit_length(), 1), bits)]
    return " ".join(f"{word:x}" for word in reversed(words)) + "\n"


@pytest.mark.parametrize("bits", [32, 64])
def test_a_gamepad_is_known_by_its_buttons_however_it_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    monkeypatch.setattr("device.drivers.gamepad._LONG_BITS", bits)
    keyboard, mouse, wheel = range(1, 120), range(0x110, 0x118), range(0x120, 0x130)
    codes = [keyboard, mouse, range(0x130, 0x13F), (), wheel, (A, X, Y, B)]
    for number, keys in zip((0, 1, 10, 2, 3, 4), codes, strict=True):
        folder = tmp_path / f"event{number}" / "device" / "capabilities"
        folder.mkdir(parents=True)
        (folder / "key").write_text(bitmap(keys, bits))
    (tmp_path / "event5").mkdir()
    (tmp_path / "mice").mkdir()
    assert find_gamepads(tmp_path) == ["/dev/input/event4", "/dev/input/event10"]
