"""Finding pairs: every filter, whole pages by bounded looks, and an index behind each of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from fleet_server.reading import searches
from fleet_server.reading.searches import Wanted, find, first_from
from fleet_server.storage.tables import samples
from shared.messages import Batch
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, drive, sample


def _all(fleet: Fleet, wanted: Wanted, limit: int = 7) -> list[int]:
    """Follow the pages to their end; return the sequences."""
    found, after = [], 0
    while True:
        page = find(fleet.database, wanted, after=after, limit=limit)
        found += [item.sequence for item in page.items]
        if page.next_after is None:
            return found
        assert page.next_after > after
        after = page.next_after


@pytest.fixture(scope="module")
def driven(empty_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two cars, three manoeuvres of ten pairs each, received a second apart; one has no label."""
    state = tmp_path_factory.mktemp("driven") / "server"
    shutil.copytree(empty_state, state)
    fleet = Fleet(state)
    fleet.add_car()
    fleet.add_car("car-2")
    for manoeuvre in range(3):
        for car in ("car-1", "car-2"):
            fleet.send(drive(manoeuvre, device=car))
        fleet.clock.now_us += 1_000_000
    unlabelled = sample(99, label=None, sensor_status="out_of_range", picture_sha256=None)
    fleet.send(Batch(device="car-1", samples=(unlabelled,)))
    yield fleet
    fleet.close()


@pytest.mark.parametrize(
    ("wanted", "sequences"),
    [
        (Wanted(device="car-1"), [*range(30), 99]),
        (Wanted(device="car-1", manoeuvre=1), list(range(10, 20))),
        (Wanted(device="car-1", deployment=DEPLOYMENT), [*range(30), 99]),
        (Wanted(device="car-1", deployment="other"), []),
        (Wanted(device="car-1", label_from=290.0), [0, 10, 20]),
        (Wanted(device="car-2", label_from=130.0, label_to=160.0), [7, 8, 17, 18, 27, 28]),
        (Wanted(labelled=False), [99]),
        (Wanted(device="car-2", since_utc_us=START_US + 2_000_000), list(range(20, 30))),
        (Wanted(device="car-2", until_utc_us=START_US + 1_000_000), list(range(10))),
        (
            Wanted(
                device="car-1",
                since_utc_us=START_US + 1_000_000,
                until_utc_us=START_US + 2_000_000,
            ),
            list(range(10, 20)),
        ),
    ],
)
@pytest.mark.parametrize("scan", [3, searches.SCAN])
def test_every_filter_finds_its_pairs_whatever_a_page_may_look_through(
    driven: Fleet, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, sequences: list[int], scan: int
) -> None:
    monkeypatch.setattr(searches, "SCAN", scan)
    assert _all(driven, wanted) == sequences


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(), "SEARCH samples USING INTEGER PRIMARY KEY (rowid>?)"),
        (Wanted(label_from=1.0), "SEARCH samples USING INTEGER PRIMARY KEY (rowid>?)"),
        (Wanted(device="car-1"), "ix_samples_device"),
        (Wanted(deployment=DEPLOYMENT), "ix_samples_deployment"),
        (Wanted(device="car-1", deployment=DEPLOYMENT), "ix_samples_device"),
    ],
)
def test_a_page_follows_an_index_and_sorts_nothing(
    driven: Fleet, wanted: Wanted, index: str
) -> None:
    with driven.database.read() as connection:
        where, residual = searches._conditions(connection, wanted)
        query = searches.pairs_after([*where, *residual], 5, None, 100)
        text = str(query.compile(connection.engine, compile_kwargs={"literal_binds": True}))
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert index in plan[0], plan
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan), plan


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=12),
    wanted=st.integers(-1, 40),
)
def test_the_first_row_received_by_a_time_is_found_between_gaps(
    fleet: Fleet, rows: list[tuple[int, int]], wanted: int
) -> None:
    number = utc_us = 0
    stored = []
    with fleet.database.write() as connection:
        connection.execute(samples.delete())
        for gap, pause in rows:
            number, utc_us = number + gap, utc_us + pause
            stored.append((number, utc_us))
            connection.execute(
                insert(samples).values(
                    id=number,
                    device="car-1",
                    boot=BOOT,
                    sequence=number,
                    manoeuvre=1,
                    deployment=DEPLOYMENT,
                    batch=1,
                    received_utc_us=utc_us,
                    content_hash="",
                    body=b"\x80",
                )
            )
        found = first_from(connection, samples.c.received_utc_us, wanted)
    assert [each for each, _ in stored if each >= found] == [
        each for each, received in stored if received >= wanted
    ]
