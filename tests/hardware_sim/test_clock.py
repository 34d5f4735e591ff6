import msgspec
import pytest

from hardware_sim.clock import VirtualClock
from hardware_sim.faults import Fault
from tests.hardware_sim.worlds import START_US, StillClock, a_clock, a_world, exact_scene

_JUMP = Fault(name="clock_jump", from_s=1.0, for_s=1.0, by_s=-3600.0)


def test_time_starts_at_the_real_utc_and_moves_only_when_slept() -> None:
    clock = a_clock(a_world())
    assert clock.monotonic_us() == clock.utc_us() == START_US
    assert clock.monotonic_us() == START_US


def test_sleeping_takes_the_world_along() -> None:
    world = a_world()
    clock = a_clock(world)
    clock.sleep_until_us(START_US + 33_333)
    assert clock.monotonic_us() == START_US + 33_333
    assert world.now_us == START_US + 32_000


def test_a_moment_that_is_past_is_no_sleep() -> None:
    clock = a_clock(a_world())
    clock.sleep_until_us(START_US - 5)
    assert clock.monotonic_us() == START_US


def test_at_speed_eight_a_virtual_second_takes_an_eighth_of_a_real_one() -> None:
    world, real = a_world(), StillClock()
    clock = VirtualClock(world, real, speed=8.0)
    for turn in range(1, 31):
        clock.sleep_until_us(START_US + turn * 33_333)
    assert real.slept_us == pytest.approx(30 * 33_333 / 8, abs=5_000)


def test_as_fast_as_it_goes_waits_for_nothing() -> None:
    world, real = a_world(), StillClock()
    VirtualClock(world, real, speed=0.0).sleep_until_us(START_US + 5_000_000)
    assert real.slept_us == 0


def test_while_nothing_is_to_happen_time_has_a_speed_of_its_own() -> None:
    world, real = a_world(), StillClock()
    clock = VirtualClock(world, real, speed=0.0, rest_speed=1.0)
    clock.sleep_until_us(START_US + 5_000_000)
    assert real.slept_us == 0
    world.rests = True
    clock.sleep_until_us(START_US + 5_010_000)
    clock.sleep_until_us(START_US + 6_010_000)
    assert real.slept_us == pytest.approx(1_000_000, abs=2_000)
    world.rests = False
    clock.sleep_until_us(START_US + 60_000_000)
    assert real.slept_us == pytest.approx(1_000_000, abs=2_000)


def test_a_machine_that_fell_behind_is_not_made_to_race() -> None:
    world, real = a_world(), StillClock()
    clock = VirtualClock(world, real, speed=1.0)
    real.now_us += 60_000_000
    clock.sleep_until_us(START_US + 10_000)
    clock.sleep_until_us(START_US + 510_000)
    assert real.slept_us == pytest.approx(500_000, abs=2_000)


@pytest.mark.parametrize(("speed", "synced"), [(1.0, True), (8.0, False), (0.0, False)])
def test_only_a_clock_at_real_pace_follows_utc(speed: float, synced: bool) -> None:
    assert a_clock(a_world(), speed).is_synced() is synced


def test_a_negative_speed_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        a_clock(a_world(), -1.0)


def test_a_clock_jump_moves_utc_and_nothing_else() -> None:
    world = a_world(msgspec.structs.replace(exact_scene(), faults=(_JUMP,)))
    clock = a_clock(world)
    clock.advance_us(1_500_000)
    assert clock.utc_us() == clock.monotonic_us() - 3_600_000_000
    clock.advance_us(1_000_000)
    assert clock.utc_us() == clock.monotonic_us() == START_US + 2_500_000
