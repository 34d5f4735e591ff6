"""Fixtures that start a fleet of real processes in a folder of the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware_sim.lab.fleet import Fleet
from shared.clock import SystemClock


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose server asks for no training, so that a test is about its pairs alone."""
    settings = {"PARKFLEET_SERVER_FIRST_TRAINING_PAIRS": "1000000"}
    with Fleet(tmp_path, SystemClock(), settings=settings) as made:
        yield made
