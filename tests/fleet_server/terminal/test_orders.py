"""Orders of a console: when they are given, how they are numbered, and what becomes of them."""

import pytest

from fleet_server.cars.registry import Known
from fleet_server.terminal.orders import ANSWER_US, KEPT, SELFTEST_US, VERBS, Orders
from shared.errors import RefusedError
from shared.messages import Command, CommandResult
from tests.fleet_server.terminal.fleets import BOOT

HERE = Known(boot=BOOT, connection=3, online=True)
GONE = Known(boot=BOOT, connection=3, online=False)


def give(
    orders: Orders, verb: str = "sync", *, known: Known = HERE, utc_us: int = 50, now_us: int = 0
) -> Command:
    return orders.give(
        device="car-1", known=known, verb=verb, arguments={}, utc_us=utc_us, now_us=now_us
    )


def answer(number: int, outcome: str = "done", device: str = "car-1") -> CommandResult:
    return CommandResult(
        device=device,
        actor="anna",
        number=number,
        outcome="done" if outcome == "done" else "refused",
        reason="why",
    )


@pytest.fixture
def orders() -> Orders:
    return Orders(own="anna", may_order=True)


def test_an_order_names_what_was_seen_and_a_number_that_never_comes_twice(orders: Orders) -> None:
    made = [give(orders, verb, utc_us=50) for verb in VERBS]
    assert [each.number for each in made] == list(range(50, 50 + len(VERBS)))
    assert {(each.actor, each.boot, each.connection) for each in made} == {("anna", BOOT, 3)}
    assert give(orders, utc_us=40).number == 50 + len(VERBS)


def test_a_car_that_is_gone_is_told_to_stop_and_nothing_else(orders: Orders) -> None:
    assert give(orders, "stop", known=GONE).verb == "stop"
    for verb in set(VERBS) - {"stop"}:
        with pytest.raises(RefusedError, match="not connected"):
            give(orders, verb, known=GONE)
    with pytest.raises(RefusedError, match="never connected"):
        give(orders, "stop", known=Known())
    with pytest.raises(RefusedError, match="no order 'fly'"):
        give(orders, "fly")


def test_a_viewer_gives_no_order() -> None:
    with pytest.raises(RefusedError, match="viewer"):
        give(Orders(own="vera", may_order=False), "stop")


def test_an_answer_counts_for_its_order_once_and_late(orders: Orders) -> None:
    number = give(orders).number
    assert orders.answered(answer(number, device="car-2")) is None
    assert orders.answered(answer(number + 1)) is None
    assert orders.overdue(ANSWER_US) == []
    assert [each.number for each in orders.overdue(ANSWER_US + 1)] == [number]
    assert orders.overdue(ANSWER_US + 1) == []
    assert orders.answered(answer(number)) == "sync"
    assert orders.answered(answer(number, "refused")) == "sync"
    assert [(each.outcome, each.reason) for each in orders.of("car-1")] == [("done", "why")]


def test_a_selftest_may_take_longer(orders: Orders) -> None:
    give(orders, "selftest")
    assert orders.overdue(SELFTEST_US) == []
    assert len(orders.overdue(SELFTEST_US + 1)) == 1


def test_the_newest_orders_are_kept(orders: Orders) -> None:
    numbers = [give(orders).number for _ in range(KEPT + 5)]
    assert [each.number for each in orders.of("car-1")] == numbers[5:]
    assert orders.of("car-2") == []
