"""The pins that carry current are forced low by a process that does not drive."""

import pytest
from gpiozero import OutputDevice
from gpiozero.pins.mock import MockFactory, MockPWMPin

from device.drivers.cutoff import GpioCutoff
from device.drivers.gpio import GpioWheels, Pins
from shared.errors import HardwareError


def test_pins_left_high_by_a_dead_process_are_low_afterwards() -> None:
    factory, pins = MockFactory(pin_class=MockPWMPin), Pins()
    motors = (pins.left_enable, pins.right_enable, pins.left_phase, pins.right_phase)
    levels = [factory.pin(f"GPIO{pin}") for pin in motors]
    for pin in levels:
        # What a killed process leaves: an output, high, that nobody holds.
        pin.function = "output"
        pin.state = 1.0
    cutoff = GpioCutoff(pins, factory)
    for _ in range(2):
        cutoff.cut()
        assert [pin.state for pin in levels] == [0.0] * 4
    cutoff.close()


def test_a_pin_that_is_held_is_an_error_and_the_others_are_cut() -> None:
    factory, pins = MockFactory(pin_class=MockPWMPin), Pins()
    held = OutputDevice(pins.left_enable, pin_factory=factory)
    other = factory.pin(f"GPIO{pins.right_enable}")
    other.function = "output"
    other.state = 1.0
    with pytest.raises(HardwareError, match=f"GPIO {pins.left_enable}"):
        GpioCutoff(pins, factory).cut()
    assert other.state == 0.0
    held.close()
    wheels = GpioWheels(pins, factory)
    wheels.close()
