import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_sim.faults import FAULT_NAMES, Fault, FaultName, Faults, parse
from hardware_sim.world import World
from shared.errors import UsageError
from tests.hardware_sim.worlds import START_US, exact_scene, let_pass, with_fault


@given(st.floats(0, 1e4), st.floats(0.001, 1e4), st.floats(0, 3e4))
def test_a_fault_acts_from_its_start_for_its_length(
    from_s: float, for_s: float, at_s: float
) -> None:
    fault = Fault(name="black_frames", from_s=from_s, for_s=for_s)
    assert fault.acts_at(at_s) == (from_s <= at_s < from_s + for_s)


def test_a_fault_without_a_length_stays() -> None:
    assert Fault(name="i2c_error", from_s=2.0).acts_at(1e9)


def test_only_the_named_fault_acts_counted_from_the_worlds_start() -> None:
    faults = Faults((Fault(name="i2c_error", from_s=1.0, for_s=1.0),), start_us=5_000_000)
    assert not faults.acts("i2c_error", 5_900_000)
    assert faults.acts("i2c_error", 6_500_000)
    assert not faults.acts("black_frames", 6_500_000)
    assert not faults.acts("i2c_error", 7_000_000)


@pytest.mark.parametrize("name", FAULT_NAMES)
def test_every_fault_has_the_same_name_in_a_scene_and_on_the_command_line(name: FaultName) -> None:
    in_scene = msgspec.convert({"name": name, "from_s": 5, "for_s": 2}, Fault)
    assert parse(f"{name}@5+2") == in_scene
    assert parse(f"{name}@0.5") == Fault(name=name, from_s=0.5)


@pytest.mark.parametrize(
    "text", ["gremlins@5", "i2c_error", "i2c_error@", "i2c_error@-1", "i2c_error@nan", "@5", "a@1+"]
)
def test_what_is_no_fault_is_told_in_one_line_with_the_form(text: str) -> None:
    with pytest.raises(UsageError, match=r"NAME@SECONDS") as raised:
        parse(text)
    assert "\n" not in str(raised.value)
    assert all(name in str(raised.value) for name in FAULT_NAMES)


def test_faults_of_the_command_line_outlast_a_change_of_scene_and_the_scenes_start_with_it() -> (
    None
):
    lasting = (Fault(name="i2c_error", from_s=2.0),)
    world = World(exact_scene(), 1, start_us=START_US, faults=lasting)
    let_pass(world, 1.0)
    world.change_scene(with_fault(exact_scene(), "black_frames", from_s=1.5))
    let_pass(world, 1.2)
    assert world.faults.acts("i2c_error", world.now_us)
    assert not world.faults.acts("black_frames", world.now_us)
    let_pass(world, 0.5)
    assert world.faults.acts("black_frames", world.now_us)
