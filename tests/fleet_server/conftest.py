"""Fixtures: a migrated state folder is made once and copied, since migrating takes a while."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet_server.fleet import Fleet


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder whose database holds one deployment and no car."""
    state = tmp_path_factory.mktemp("state")
    Fleet(state).close()
    return state


@pytest.fixture
def fleet(empty_state: Path, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet with the car `car-1`."""
    state = tmp_path / "server"
    shutil.copytree(empty_state, state)
    made = Fleet(state)
    made.add_car()
    yield made
    made.close()
