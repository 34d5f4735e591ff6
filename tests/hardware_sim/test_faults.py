from hypothesis import given
from hypothesis import strategies as st

from hardware_sim.faults import Fault, Faults


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
