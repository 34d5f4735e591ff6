"""An exponent is what the size does to the cost, and nothing that the units do."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.benchmarks.scaling import Curve, fitted

SIZES = st.lists(st.floats(1.0, 1e6), min_size=2, max_size=8, unique=True)
FACTORS = st.floats(1e-6, 1e6)


def _apart(sizes: list[float]) -> bool:
    return max(sizes) / min(sizes) > 1.5


@settings(deadline=None)
@given(SIZES, st.floats(-3.0, 3.0), FACTORS)
def test_a_power_law_is_found_again(sizes: list[float], exponent: float, factor: float) -> None:
    assume(_apart(sizes))
    fit = fitted([(x, factor * x**exponent) for x in sizes])
    assert fit.exponent == pytest.approx(exponent, abs=1e-6)
    assert math.log(fit.factor) == pytest.approx(math.log(factor), abs=1e-4)
    assert fit.off == pytest.approx(1.0, abs=1e-6)


def test_a_line_that_meets_one_beyond_all_numbers_has_an_exponent_all_the_same() -> None:
    fit = fitted([(2e11, 4e8), (3e11, 5e2)])
    assert fit.exponent == pytest.approx(-33.5, abs=0.1)
    assert fit.factor == math.inf


@settings(deadline=None)
@given(SIZES, st.data(), FACTORS, FACTORS)
def test_units_do_not_change_the_exponent(
    sizes: list[float], data: st.DataObject, of_x: float, of_y: float
) -> None:
    assume(_apart(sizes))
    points = [(x, data.draw(st.floats(1e-3, 1e3))) for x in sizes]
    there, again = fitted(points), fitted([(x * of_x, y * of_y) for x, y in points])
    assert again.exponent == pytest.approx(there.exponent, abs=1e-6)
    assert again.off == pytest.approx(there.off, rel=1e-6)


@settings(deadline=None)
@given(SIZES, st.data())
def test_no_point_is_further_off_than_is_said(sizes: list[float], data: st.DataObject) -> None:
    assume(_apart(sizes))
    points = [(x, data.draw(st.floats(1e-3, 1e3))) for x in sizes]
    fit = fitted(points)
    for x, y in points:
        assert 1 / fit.off * (1 - 1e-6) <= y / fit.at(x) <= fit.off * (1 + 1e-6)


@pytest.mark.parametrize(
    "points", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 3.0)], [(1.0, 0.0), (2.0, 1.0)]]
)
def test_no_line_no_exponent(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"two sizes|above zero"):
        fitted(points)


def test_a_curve_goes_into_the_report_with_its_fit() -> None:
    curve = Curve(name="c", x="cars", y="s", points=((1.0, 2.0), (10.0, 20.0)))
    told = curve.as_dict()
    assert told["points"] == ((1.0, 2.0), (10.0, 20.0))
    assert isinstance(told["fit"], dict)
    assert told["fit"]["exponent"] == pytest.approx(1.0)
