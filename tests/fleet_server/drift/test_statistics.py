"""Drift on rendered pictures and a real model: what bench_drift counts, in brief."""

from pathlib import Path

import pytest

from tests.benchmarks import bench_drift

_OF_THE_MACHINE = {"through the drift code"}


@pytest.mark.slow
def test_drift_is_seen_named_and_told_from_what_does_not_hurt(tmp_path: Path) -> None:
    checks = bench_drift.measure(1200, 1, 3, tmp_path / "confusion.png").checks
    missed = [each for each in checks if not each.met and each.name not in _OF_THE_MACHINE]
    assert missed == []
    assert (tmp_path / "confusion.png").stat().st_size > 0
