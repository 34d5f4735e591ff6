"""Sigma covers what it should, or as nearly as one factor can."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.judging.evaluate import standard_error
from trainer.learning.calibrate import coverage, factor


@given(true=st.floats(0.1, 10.0), seed=st.integers(0, 1000))
def test_gaussian_errors_get_their_own_sigma(true: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    sigmas = np.exp(random.normal(0, 0.5, 2000)).astype(np.float32)
    errors = (random.normal(0, 1, 2000) * sigmas * true).astype(np.float32)
    assert factor(errors, sigmas) == pytest.approx(true, rel=0.12)


def test_one_bad_label_changes_nothing() -> None:
    random = np.random.default_rng(1)
    errors = random.normal(0, 1, 300).astype(np.float32)
    ones = np.ones(300, dtype=np.float32)
    before = factor(errors, ones)
    errors[0] = 1000.0
    assert factor(errors, ones) == pytest.approx(before, rel=0.03)


def test_both_shares_are_within_five_points_for_errors_a_little_heavy_tailed() -> None:
    errors = np.random.default_rng(2).standard_t(4, 4000).astype(np.float32)
    ones = np.ones(4000, dtype=np.float32)
    one, two = coverage(errors / factor(errors, ones), ones)
    assert abs(one - 0.68) < 0.05
    assert abs(two - 0.95) < 0.05


def test_a_share_is_known_as_well_as_its_manoeuvres_let_it_be() -> None:
    alike = np.repeat([True, False, True, True], 25)
    names = [f"m{number}" for number in np.repeat(range(4), 25)]
    together = standard_error(alike, names)
    assert together == pytest.approx(0.25, abs=0.01)
    apart = standard_error(alike, [str(number) for number in range(100)])
    assert apart == pytest.approx(np.sqrt(0.75 * 0.25 / 100), rel=0.02)
    assert standard_error(alike, ["m"] * 100) >= 0.5
