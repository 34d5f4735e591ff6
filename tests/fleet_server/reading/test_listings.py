"""Every list over a table that grows follows an index from its cursor on, and sorts nothing."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event

from fleet_server.cars import commanding
from fleet_server.erasure import erasure
from fleet_server.reading import annotations, descent
from fleet_server.reading.queries import Queries
from fleet_server.storage.columns import metadata
from fleet_server.storage.database import Database
from fleet_server.telling import alerts
from fleet_server.training import runs
from shared.ids import SampleKey
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, Fleet, drive

Listing = Callable[[Database], object]


def _by(query: Callable[[Queries], object]) -> Listing:
    return lambda database: query(Queries(database))


def _within(query: Callable[[Connection], object]) -> Listing:
    def ask(database: Database) -> object:
        with database.read() as connection:
            return query(connection)

    return ask


KEY = SampleKey("car-1", BOOT, 1)

LISTINGS: dict[str, Listing] = {
    "manoeuvres": _by(lambda q: q.manoeuvres(after=5)),
    "manoeuvres of a car": _by(lambda q: q.manoeuvres(device="car-1", after=5)),
    "manoeuvres of a deployment": _by(lambda q: q.manoeuvres(deployment=DEPLOYMENT, after=5)),
    "the newest manoeuvres": _by(lambda q: q.manoeuvres(limit=10, newest=True)),
    "batches": _by(lambda q: q.batches(after=5)),
    "batches of a car": _by(lambda q: q.batches(device="car-1", after=5)),
    "quarantine": _by(lambda q: q.quarantine(after=5)),
    "decisions": _by(lambda q: q.decisions(after=5)),
    "the newest decisions": _by(lambda q: q.decisions(limit=10, newest=True)),
    "models": _by(lambda q: q.models(after=5)),
    "training jobs": _by(lambda q: q.training_jobs(after=5)),
    "a picture": _by(lambda q: q.picture("car-1", BOOT, 1)),
    "a car's history": _by(lambda q: q.history("car-1")),
    "annotations": lambda d: annotations.listed(d, KEY, after=5),
    "alerts": lambda d: alerts.listed(d, after=5),
    "commands": _within(lambda c: commanding.listed(c, after=5)),
    "commands of a car": _within(lambda c: commanding.listed(c, device="car-1", after=5)),
    "erasures": lambda d: erasure.listed(d, after=5),
    "runs of an experiment": _within(lambda c: runs.listed(c, experiment="e", after=5)),
    "runs on a data set": _within(lambda c: runs.listed(c, dataset_sha256="0" * 64)),
    "who learned from a pair": lambda d: descent.of_sample(d, KEY),
}

_SMALL = {"deployments", "models", "training_jobs", "model_history"}
"""Tables whose rows people or training make: reading one whole costs nothing."""


@pytest.fixture
def driven(fleet: Fleet) -> Fleet:
    for manoeuvre in range(3):
        fleet.send(drive(manoeuvre))
    return fleet


@contextmanager
def _asked(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Give the statements that are sent meanwhile."""
    found: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            found.append((statement, parameters))

    with database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("name", LISTINGS)
def test_a_list_follows_an_index_and_sorts_nothing(driven: Fleet, name: str) -> None:
    with _asked(driven.database) as asked:
        LISTINGS[name](driven.database)
    assert asked
    with driven.database.read() as connection:
        for statement, parameters in asked:
            plan = [
                row[3]
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
            scanned = {match[1] for step in plan if (match := re.match(r"SCAN (\w+)", step))}
            scanned &= set(metadata.tables)
            is_end = "DESC" in statement and "LIMIT" in statement
            assert is_end or scanned <= _SMALL, (statement, plan)
            is_page = "LIMIT" in statement
            assert not (is_page and any("USE TEMP B-TREE" in step for step in plan)), plan
