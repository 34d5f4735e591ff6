"""Whose pins are whose, and what becomes of those of the dead."""

import errno

import pytest

from device.drivers.gpio import Pins
from hardware_sim.apart import wire
from hardware_sim.apart.lines import Lines
from hardware_sim.pins import WorldPinFactory
from hardware_sim.world import World
from tests.hardware_sim.worlds import a_world, let_pass

_PINS = Pins()
_DRIVE, _SUPERVISOR = "drive", "supervisor"

Edges = list[tuple[int, bool, int]]


class _Car:
    """A car whose pins are lent, and what its holders were told."""

    def __init__(self, *, strict: bool = False) -> None:
        self.world: World = a_world()
        self.pins = WorldPinFactory(self.world, _PINS)
        self.lines = Lines(self.pins, strict=strict)
        self.edges: Edges = []

    def output(self, holder: str, pin: int) -> wire.Claimed | wire.Failed:
        wanted = wire.Claim(pin=pin, function="output")
        return self.lines.claim(holder, wanted, self._told)

    def input(self, holder: str, pin: int, pull: wire.Pull) -> wire.Claimed | wire.Failed:
        wanted = wire.Claim(pin=pin, function="input", pull=pull)
        return self.lines.claim(holder, wanted, self._told)

    def reverse(self, holder: str, level: float = 0.4) -> None:
        for pin in (_PINS.left_phase, _PINS.right_phase, _PINS.left_enable, _PINS.right_enable):
            assert self.output(holder, pin) == wire.Claimed(pin=pin, level=0.0)
        for pin in (_PINS.left_phase, _PINS.right_phase):
            self.lines.write(holder, wire.Write(pin=pin, level=1.0))
        for pin in (_PINS.left_enable, _PINS.right_enable):
            self.lines.write(holder, wire.Write(pin=pin, level=level))

    def _told(self, pin: int, level: bool, at_us: int) -> None:
        self.edges.append((pin, level, at_us))


def test_a_pin_that_somebody_holds_is_busy_for_others_and_does_what_it_did() -> None:
    car = _Car()
    car.reverse(_DRIVE)
    answer = car.output(_SUPERVISOR, _PINS.left_enable)
    assert isinstance(answer, wire.Failed)
    assert answer.errno == errno.EBUSY
    car.lines.write(_SUPERVISOR, wire.Write(pin=_PINS.left_enable, level=0.0))
    assert car.pins.level(_PINS.left_enable) == 0.4


def test_outputs_keep_their_level_when_their_holder_is_gone() -> None:
    car = _Car()
    car.reverse(_DRIVE, level=1.0)
    car.lines.release(_DRIVE)
    let_pass(car.world, 2.0)
    assert car.world.contacts == 1
    assert not car.world.is_still


def test_a_pulse_width_stops_at_high_with_the_process_that_made_it() -> None:
    car = _Car()
    car.reverse(_DRIVE, level=0.2)
    car.lines.release(_DRIVE)
    assert car.pins.level(_PINS.left_enable) == car.pins.level(_PINS.right_enable) == 1.0


def test_strict_gpiod_frees_a_dead_processes_pins() -> None:
    car = _Car(strict=True)
    car.reverse(_DRIVE)
    car.lines.release(_DRIVE)
    let_pass(car.world, 1.0)
    assert car.world.is_still
    assert car.world.distance_mm == 300.0


@pytest.mark.parametrize("function", ["input", "output"])
def test_whoever_takes_a_dead_processes_pin_cuts_its_motor(function: wire.Function) -> None:
    car = _Car()
    car.reverse(_DRIVE)
    car.lines.release(_DRIVE)
    for pin in (_PINS.left_enable, _PINS.right_enable):
        answer = car.lines.claim(
            _SUPERVISOR, wire.Claim(pin=pin, function=function), lambda *_: None
        )
        assert isinstance(answer, wire.Claimed)
    let_pass(car.world, 1.0)
    assert car.world.is_still


def test_an_output_taken_again_does_what_it_is_told_again() -> None:
    car = _Car()
    car.reverse(_DRIVE)
    car.lines.release(_DRIVE)
    for pin in (_PINS.left_enable, _PINS.right_enable):
        car.input(_SUPERVISOR, pin, "floating")
    car.lines.release(_SUPERVISOR)
    car.reverse(_DRIVE, level=1.0)
    assert car.pins.level(_PINS.left_enable) == 1.0


def test_an_inputs_holder_is_told_of_each_change_with_its_moment_until_it_lets_go() -> None:
    car = _Car()
    button = _PINS.button_park
    assert car.input(_DRIVE, button, "up") == wire.Claimed(pin=button, level=1.0)
    car.edges.clear()
    pressed_us = car.world.now_us
    car.pins.press(button)
    let_pass(car.world, 0.1)
    car.pins.let_go(button)
    assert car.edges == [(button, False, pressed_us), (button, True, pressed_us + 100_000)]
    car.lines.release(_DRIVE)
    car.pins.press(button)
    assert len(car.edges) == 2


def test_encoders_are_heard_through_lent_pins() -> None:
    car = _Car()
    for pin in (_PINS.left_encoder, _PINS.right_encoder):
        car.input(_DRIVE, pin, "down")
    car.reverse(_DRIVE)
    let_pass(car.world, 0.5)
    rising = [pin for pin, level, _ in car.edges if level]
    for side, pin in enumerate((_PINS.left_encoder, _PINS.right_encoder)):
        turned = car.world.travel_mm[side] / car.world.chassis.mm_per_edge
        assert rising.count(pin) == pytest.approx(turned, abs=1.0)


def test_an_input_cannot_be_written() -> None:
    car = _Car()
    car.input(_DRIVE, _PINS.left_enable, "floating")
    car.lines.write(_DRIVE, wire.Write(pin=_PINS.left_enable, level=1.0))
    assert car.pins.level(_PINS.left_enable) == 0.0
