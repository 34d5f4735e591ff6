"""Threads take turns, and nobody is passed over."""

import threading
from contextlib import ExitStack

import pytest

from fleet_server.storage.turns import Turns
from shared.errors import RetryLaterError

LONG_S = 30.0


def test_turns_go_to_those_who_wait_in_the_order_in_which_they_came() -> None:
    turns, order = Turns(), list[int]()

    def wait(number: int) -> None:
        with turns.turn(LONG_S):
            order.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(8)]
    with turns.turn(LONG_S):
        for count, thread in enumerate(threads, start=1):
            thread.start()
            while len(turns._waiting) < count:
                pass
    # Whoever asks now comes after them all.
    with turns.turn(LONG_S):
        order.append(99)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4, 5, 6, 7, 99]


def test_who_has_waited_too_long_is_told_so_and_holds_nobody_up() -> None:
    turns = Turns()
    with ExitStack() as first:
        first.enter_context(turns.turn(LONG_S))
        with pytest.raises(RetryLaterError, match="too long"), turns.turn(0.0):
            raise AssertionError
    with turns.turn(0.0):
        pass


def test_a_turn_that_ends_in_an_error_is_handed_on() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="no"), turns.turn(LONG_S):
        raise ValueError("no")
    with turns.turn(0.0):
        pass
