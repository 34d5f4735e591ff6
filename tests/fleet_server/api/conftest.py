"""A served fleet: the real application over the test's database and a real release repository."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fleet_server import tokens
from fleet_server.api.app import create_app
from fleet_server.api.context import Context
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.setup import initialise
from fleet_server.settings import ServerSettings
from fleet_server.tokens import Role
from tests.fleet_server.fleet import START_US, Fleet, VirtualClock

SETTINGS = ServerSettings(
    first_training_pairs=40,
    retrain_pairs=30,
    reference_manoeuvres=5,
    event_stream_s=1e-3,
    rollout_strategy="direct",
)


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the owner's, the server's and a trainer's part of a repository."""
    folder = tmp_path_factory.mktemp("releases")
    initialise(
        owner_dir=folder / "owner",
        server_state=folder / "server",
        trainer_dir=folder / "trainer",
        trainer_name="trainer-1",
        task="wall-distance",
        clock=VirtualClock(),
    )
    return folder


def context_of(fleet: Fleet, releases: Path) -> Context:
    """Return the parts of a server of `fleet`, over a copy of `releases`."""
    shutil.copytree(releases / "server" / "releases", fleet.state / "releases")
    return Context(
        state=fleet.state,
        settings=SETTINGS,
        database=fleet.database,
        repository=OnlineRepository.open(fleet.state, fleet.clock),
        key=fleet.server_key,
        clock=fleet.clock,
        outcomes=Counter(),
    )


@pytest.fixture
def context(fleet: Fleet, releases: Path) -> Context:
    """Return the server's parts."""
    return context_of(fleet, releases)


@pytest.fixture(scope="session")
def applications() -> list[FastAPI]:
    """Return a place for the one application of all tests, which takes a while to build."""
    return []


@pytest.fixture
def client(context: Context, applications: list[FastAPI]) -> Iterator[TestClient]:
    """Give a client without a token; a bug in the server becomes a 500, not an exception."""
    with client_of(context, applications) as made:
        yield made


@contextmanager
def client_of(context: Context, applications: list[FastAPI]) -> Iterator[TestClient]:
    """Give a client of the one application, which serves `context` until the next one."""
    if not applications:
        applications.append(create_app(context))
    applications[0].state.context = context
    with TestClient(applications[0], raise_server_exceptions=False) as made:
        yield made


Login = Callable[[Role], dict[str, str]]


def headers_of(fleet: Fleet, role: Role) -> dict[str, str]:
    """Return the headers of a new token with `role`."""
    with fleet.database.write() as connection:
        token = tokens.create(connection, name=role, role=role, utc_us=START_US).secret
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def login(fleet: Fleet) -> Login:
    """Return a function that makes the headers of a new token with a role."""

    def made(role: Role) -> dict[str, str]:
        return headers_of(fleet, role)

    return made
