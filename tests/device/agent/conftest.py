"""The world of the agent's tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.device.agent.world import Car, Fleet, SettableClock, enrolled_home


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture(scope="session")
def new_fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a fleet without a release; every file of it was flushed to the disk."""
    root = tmp_path_factory.mktemp("new") / "fleet"
    Fleet(root=root, clock=SettableClock())
    return root


@pytest.fixture
def fleet(tmp_path: Path, clock: SettableClock, new_fleet: Path) -> Fleet:
    shutil.copytree(new_fleet, tmp_path / "fleet")
    return Fleet(root=tmp_path / "fleet", clock=clock)


@pytest.fixture
def car(tmp_path: Path, fleet: Fleet, clock: SettableClock) -> Iterator[Car]:
    made = Car(home=enrolled_home(tmp_path / "car", fleet), fleet=fleet, clock=clock)
    yield made
    made.journal.close()
