"""A fleet's store, of every kind that there is: SQLite alone, and PostgreSQL with S3."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Database
from fleet_server.storage.opening import open_database
from tests.contracts import stores
from tests.contracts.stores import Bucket, Cluster
from tests.fleet_server.fleet import Fleet, VirtualClock


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with stores.postgresql() as running:
        yield running


@pytest.fixture(scope="session")
def template(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a database that is migrated and holds one deployment, to be copied."""
    name = cluster.create()
    opened = Database.connect(cluster.url(name), VirtualClock())
    Fleet(tmp_path_factory.mktemp("template"), opened=opened).close()
    return name


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    with stores.s3() as running:
        before = dict(os.environ)
        os.environ.update(running.environment)
        yield running
        for name in running.environment.keys() - before.keys():
            del os.environ[name]


@dataclass
class Store:
    """A kind of store that holds one fleet's data, and can be opened again."""

    settings: ServerSettings
    state: Path

    def open(self) -> Database:
        return open_database(self.state, self.settings, VirtualClock())


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql+s3", marks=pytest.mark.e2e)],
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    settings = ServerSettings()
    if request.param == "postgresql+s3":
        cluster: Cluster = request.getfixturevalue("cluster")
        name = cluster.create(request.getfixturevalue("template"))
        prefix = request.getfixturevalue("bucket").prefix()
        settings = ServerSettings(database=cluster.url(name), objects=prefix)
    return Store(settings, tmp_path)


@pytest.fixture
def fleet(store: Store) -> Iterator[Fleet]:
    made = Fleet(store.state, opened=store.open())
    made.add_car()
    yield made
    made.close()
