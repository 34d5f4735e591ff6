"""gpiozero's own devices, through the car's drivers, on pins of the simulated world."""

import tracemalloc

import pytest

from device.drivers.gpio import GpioControls, GpioSignals, GpioWheels, Pins
from hardware_sim.pins import WorldPinFactory
from hardware_sim.world import World
from tests.hardware_sim.worlds import a_world, exact_scene, let_pass, with_fault

_PINS = Pins()


def _wheels(world: World) -> tuple[GpioWheels, WorldPinFactory]:
    factory = WorldPinFactory(world, _PINS)
    return GpioWheels(_PINS, factory), factory


def test_reversing_moves_the_car_towards_the_wall_and_forward_away() -> None:
    world = a_world()
    wheels, _ = _wheels(world)
    wheels.set_duty(-0.5, -0.5)
    let_pass(world, 0.5)
    near_mm = world.distance_mm
    assert near_mm < 260.0
    wheels.set_duty(0.5, 0.5)
    let_pass(world, 0.5)
    assert world.distance_mm > near_mm + 30.0


def test_encoders_count_a_rising_edge_per_step_of_the_wheel() -> None:
    world = a_world()
    wheels, _ = _wheels(world)
    wheels.set_duty(-0.4, -0.3)
    let_pass(world, 1.0)
    for edges, travelled_mm in zip(wheels.edges(), world.travel_mm, strict=True):
        assert edges == pytest.approx(travelled_mm / world.chassis.mm_per_edge, abs=1.0)
    assert wheels.edges()[0] > wheels.edges()[1] > 100


def test_stopping_cuts_both_motors_at_once() -> None:
    world = a_world()
    wheels, _ = _wheels(world)
    wheels.set_duty(-1.0, -1.0)
    let_pass(world, 0.2)
    wheels.stop()
    let_pass(world, 0.8)
    assert world.is_still


def test_pins_that_are_closed_drive_nothing() -> None:
    world = a_world()
    wheels, _ = _wheels(world)
    wheels.set_duty(-1.0, -1.0)
    wheels.close()
    let_pass(world, 1.0)
    assert world.is_still
    assert world.distance_mm == 300.0


def test_a_cable_that_came_off_silences_the_left_encoder_only() -> None:
    world = a_world(with_fault(exact_scene(), "encoder_lost"))
    wheels, _ = _wheels(world)
    wheels.set_duty(-0.4, -0.4)
    let_pass(world, 0.5)
    assert wheels.edges()[0] == 0
    assert wheels.edges()[1] > 50


def test_lamp_and_buzzer_show_in_the_world() -> None:
    factory = WorldPinFactory(a_world(), _PINS)
    signals = GpioSignals(_PINS, factory)
    signals.set_led(on=True)
    signals.set_buzzer(on=True)
    assert factory.level(_PINS.led) == factory.level(_PINS.buzzer) == 1.0
    signals.set_led(on=False)
    assert factory.level(_PINS.led) == 0.0
    signals.close()
    assert factory.level(_PINS.buzzer) == 0.0


def test_buttons_are_heard_in_the_order_in_which_they_were_pressed() -> None:
    world = a_world()
    factory = WorldPinFactory(world, _PINS)
    controls = GpioControls(_PINS, factory)
    for bcm in (_PINS.button_park_by_sensor, _PINS.button_stop, _PINS.button_park):
        factory.press(bcm)
        let_pass(world, 0.1)
        factory.let_go(bcm)
        let_pass(world, 0.1)
    assert [controls.pressed() for _ in range(4)] == ["park_by_sensor", "stop", "park", None]


def test_gpiozeros_time_is_the_worlds() -> None:
    world = a_world()
    factory = WorldPinFactory(world, _PINS)
    before = factory.ticks()
    let_pass(world, 2.0)
    assert factory.ticks_diff(factory.ticks(), before) == pytest.approx(2.0)


@pytest.mark.slow
def test_a_long_run_remembers_nothing_but_levels() -> None:
    world = a_world(z_mm=100_000.0)
    wheels, _ = _wheels(world)
    wheels.set_duty(-1.0, -1.0)
    let_pass(world, 5.0)
    tracemalloc.start()
    let_pass(world, 2.0)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert wheels.edges()[0] > 4_000
    assert grown < 300_000


def test_a_pulse_width_is_a_whole_per_cent_as_lgpio_makes_it() -> None:
    world = a_world()
    wheels, factory = _wheels(world)
    wheels.set_duty(-0.129, 0.999)
    assert factory.level(_PINS.left_enable) == 0.12
    assert factory.level(_PINS.right_enable) == 0.99
    # The direction is no pulse: on is on.
    assert factory.level(_PINS.left_phase) == 1.0
