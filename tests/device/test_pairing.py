"""A picture gets the range of its own moment, or none."""

from hypothesis import given
from hypothesis import strategies as st

from device.hardware import RangeReading
from device.pairing import MAX_GAP_US, MAX_SKEW_US, Label, Pairing, label_at


def ok(at_us: int, range_mm: float) -> RangeReading:
    return RangeReading(range_mm=range_mm, status="ok", measured_us=at_us)


def lost(at_us: int) -> RangeReading:
    return RangeReading(range_mm=None, status="out_of_range", measured_us=at_us)


@given(
    st.integers(1_000, MAX_GAP_US),
    st.floats(0.0, 1.0, exclude_max=True),
    st.floats(30, 400),
    st.floats(-0.3, 0.3),
)
def test_between_two_readings_steady_motion_is_met_exactly(
    gap_us: int, share: float, start_mm: float, mm_per_ms: float
) -> None:
    moment_us = int(gap_us * share)
    readings = [ok(0, start_mm), ok(gap_us, start_mm + mm_per_ms * gap_us / 1000)]
    label = label_at(moment_us, readings)
    assert label.value is not None
    assert abs(label.value - (start_mm + mm_per_ms * moment_us / 1000)) < 1e-6
    assert label.skew_us == min(moment_us, gap_us - moment_us)


@given(st.lists(st.integers(0, 1_000_000), max_size=8), st.integers(0, 1_000_000), st.data())
def test_a_label_comes_from_near_by_or_not_at_all(
    moments: list[int], moment_us: int, data: st.DataObject
) -> None:
    readings = [
        data.draw(st.sampled_from([ok(at, 100.0), lost(at)])) for at in sorted(set(moments))
    ]
    label = label_at(moment_us, readings)
    assert (label.value is not None) == (label.status == "ok")
    if label.status != "no_reading":
        assert label.skew_us <= max(MAX_SKEW_US, MAX_GAP_US // 2)
    nearest = min((abs(at - moment_us) for at in moments), default=None)
    if nearest is None or nearest > MAX_GAP_US:
        assert label == Label(None, "no_reading", 0)


def test_a_good_reading_near_by_serves_where_the_other_was_lost() -> None:
    assert label_at(10_000, [ok(0, 90.0), lost(20_000)]) == Label(90.0, "ok", 10_000)
    assert label_at(10_000, [lost(0), lost(20_000)]).status == "out_of_range"


def test_readings_too_far_apart_are_not_interpolated() -> None:
    readings = [ok(0, 100.0), ok(MAX_GAP_US + 1, 50.0)]
    assert label_at(60_000, readings) == Label(None, "no_reading", 0)
    assert label_at(20_000, readings) == Label(100.0, "ok", 20_000)


@given(st.lists(st.sampled_from(["picture", "reading", "pass"]), max_size=60))
def test_every_picture_comes_out_once_and_in_order(steps: list[str]) -> None:
    pairing: Pairing[int] = Pairing(is_fitted=True)
    now_us, taken, out = 0, 0, []
    for what in steps:
        now_us += 33_000
        if what == "picture":
            pairing.add_picture(now_us - 18_000, taken)
            taken += 1
        elif what == "reading":
            pairing.add_reading(ok(now_us - 16_000, 100.0))
        out += [picture for picture, _ in pairing.due(now_us)]
    out += [picture for picture, _ in pairing.rest()]
    assert out == list(range(taken))
    assert pairing.rest() == []


def test_a_picture_waits_for_the_reading_after_it_but_not_for_ever() -> None:
    pairing: Pairing[str] = Pairing(is_fitted=True)
    pairing.add_reading(ok(90_000, 100.0))
    pairing.add_picture(100_000, "first")
    assert pairing.due(120_000) == []
    pairing.add_reading(ok(123_000, 94.0))
    ((picture, label),) = pairing.due(125_000)
    assert (picture, label.status, label.skew_us) == ("first", "ok", 10_000)
    pairing.add_picture(200_000, "second")
    assert pairing.due(300_000) == []
    assert pairing.due(330_000) == [("second", Label(None, "no_reading", 0))]


def test_a_car_without_sensor_has_no_labels_and_waits_for_none() -> None:
    pairing: Pairing[str] = Pairing(is_fitted=False)
    pairing.add_picture(100_000, "only")
    assert pairing.due(100_001) == [("only", Label(None, "absent", 0))]
