"""A car that sends too much is held back, and nobody else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.ingest.quota import Quota, Quotas
from fleet_server.ingest.taking import Ingest
from shared.messages import Batch
from shared.topics import BATCH
from tests.fleet_server.fleet import Fleet, drive

MINUTE_US = 60_000_000
QUOTA = Quota(size_bytes=6000, rows=60)


def test_a_balance_that_is_used_up_fills_again_evenly() -> None:
    quotas = Quotas(QUOTA)
    assert quotas.admits("car-1", 6000, 0)
    assert not quotas.admits("car-1", 1, 0)
    assert quotas.admits("car-1", 50, MINUTE_US // 100)  # 60 bytes later
    assert quotas.admits("car-1", 50, MINUTE_US // 100)
    assert not quotas.admits("car-1", 50, MINUTE_US // 100)


def test_rows_count_as_bytes_do() -> None:
    quotas = Quotas(QUOTA)
    assert quotas.admits("car-1", 1, 0)
    quotas.charge("car-1", 90)
    assert not quotas.admits("car-1", 1, MINUTE_US // 2)
    assert quotas.admits("car-1", 1, MINUTE_US)


def test_what_is_not_taken_in_costs_nothing_and_is_counted() -> None:
    quotas = Quotas(QUOTA)
    quotas.admits("car-1", 6000, 0)
    for _ in range(1000):
        assert not quotas.admits("car-1", 6000, 0)
    assert quotas.held_back("car-1") == 1000
    assert quotas.admits("car-1", 1, MINUTE_US)
    assert quotas.held_back("car-1") == 0


def test_one_cars_balance_is_nothing_to_anothers() -> None:
    quotas = Quotas(QUOTA)
    while quotas.admits("car-1", 5000, 0):
        pass
    assert quotas.admits("car-2", 5000, 0)


def test_idle_cars_are_forgotten_before_too_many_are_known() -> None:
    quotas = Quotas(QUOTA)
    for number in range(25_000):
        assert quotas.admits(f"car-{number}", 1, number * 100_000)
    assert len(quotas._balances) <= 10_000


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(1, 3000), st.integers(0, 40), st.integers(0, MINUTE_US // 4)),
        max_size=60,
    )
)
def test_no_car_gets_more_than_its_quota_and_one_message(
    sent: list[tuple[int, int, int]],
) -> None:
    quotas, now, taken, rows = Quotas(QUOTA), 0, 0, 0
    for size_bytes, count, pause_us in sent:
        now += pause_us
        if quotas.admits("car-1", size_bytes, now):
            quotas.charge("car-1", count)
            taken, rows = taken + size_bytes, rows + count
        share = 1 + now / MINUTE_US
        assert taken <= QUOTA.size_bytes * share + 3000
        assert rows <= QUOTA.rows * share + 40


def test_a_batch_above_the_quota_is_not_answered_and_is_taken_in_later(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    quota = Quota(size_bytes=100_000_000, rows=15)
    ingest = Ingest(fleet.database, fleet.server_key, fleet.clock, quota=quota)
    own, other = BATCH.topic(id="car-1"), BATCH.topic(id="car-2")
    replies = ingest.take_all(
        [
            (own, fleet.sealed(drive(0))),
            (other, fleet.sealed(drive(0, device="car-2"))),
        ]
    )
    assert [reply.receipt.outcome for reply in replies if reply] == ["stored", "stored"]
    assert ingest.take(own, fleet.sealed(drive(1))) is None
    assert fleet.queries.totals().pairs_stored == 20
    assert fleet.queries.quarantine() == ()
    assert ingest.outcomes["over_quota"] == 1
    fleet.clock.now_us += MINUTE_US
    later = ingest.take(own, fleet.sealed(drive(1)))
    assert later is not None
    assert later.receipt.outcome == "stored"


def test_answers_keep_the_order_of_the_messages_where_some_are_held_back(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    quota = Quota(size_bytes=1, rows=1000)
    ingest = Ingest(fleet.database, fleet.server_key, fleet.clock, quota=quota)
    messages = [
        (BATCH.topic(id=f"car-{n % 2 + 1}"), fleet.sealed(drive(n, device=f"car-{n % 2 + 1}")))
        for n in range(6)
    ]
    replies = ingest.take_all(messages)
    assert [reply and reply.receipt.device for reply in replies] == [
        *("car-1", "car-2", None, None, None, None)
    ]


def test_a_flood_of_rubbish_is_held_back_after_a_few_and_nobody_else_is(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    quota = Quota(size_bytes=100_000_000, rows=1000)
    ingest = Ingest(fleet.database, fleet.server_key, fleet.clock, quota=quota)
    rubbish, empty = b"rubbish", fleet.sealed(Batch(device="car-1"))
    for body in (rubbish, empty) * 50:
        ingest.take(BATCH.topic(id="car-1"), body)
    assert ingest.outcomes["over_quota"] == 90
    other = ingest.take(BATCH.topic(id="car-2"), fleet.sealed(drive(0, device="car-2")))
    assert other is not None
    assert other.receipt.outcome == "stored"
