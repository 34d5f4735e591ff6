"""The world of the agent's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.device.agent.world import Car, Fleet, SettableClock, enrolled_home


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def fleet(tmp_path: Path, clock: SettableClock) -> Fleet:
    return Fleet(root=tmp_path / "fleet", clock=clock)


@pytest.fixture
def car(tmp_path: Path, fleet: Fleet, clock: SettableClock) -> Iterator[Car]:
    made = Car(home=enrolled_home(tmp_path / "car", fleet), fleet=fleet, clock=clock)
    yield made
    made.journal.close()
