from typing import get_args

import numpy as np
import pytest

from hardware_sim import patterns
from hardware_sim.scene_tables import Pattern

_PRINTED = [each for each in get_args(Pattern) if each != "none"]


@pytest.mark.parametrize("pattern", _PRINTED)
@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_pattern_covers_part_of_a_tile_with_shares(pattern: Pattern, count: int) -> None:
    mask = patterns.mask(pattern, count, 128)
    assert mask.shape == (128, 128)
    assert mask.min() >= 0.0
    assert mask.max() <= 1.0
    assert 0.01 < mask.mean() < 0.6


@pytest.mark.parametrize("pattern", [each for each in _PRINTED if each != "planks"])
def test_the_tiles_of_a_pattern_repeat_count_times_without_a_seam(pattern: Pattern) -> None:
    mask = patterns.mask(pattern, 4, 128)
    for axis in (0, 1):
        assert np.allclose(np.roll(mask, 32, axis=axis), mask, atol=1e-6)


def test_planks_lie_along_the_wall_and_end_at_different_places() -> None:
    mask = patterns.mask("planks", 4, 128)
    joints = mask.mean(axis=1) > 0.9
    assert joints[:2].any()
    ends = [int(mask[row].argmax()) for row in (16, 48, 80, 112)]
    assert len(set(ends)) == 4


def test_no_pattern_prints_nothing() -> None:
    assert not patterns.mask("none", 4, 128).any()
