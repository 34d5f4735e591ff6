"""What the pairs of a manoeuvre tell of its end, and what they cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.interrupted import end_of
from shared.samples import Sample
from tests.device.records import BOOT, sample


@given(st.permutations([sample(number, manoeuvre=3) for number in range(4)]))
def test_an_end_says_what_the_pairs_tell_in_whatever_order(samples: list[Sample]) -> None:
    end = end_of(samples, pairs=9)
    first, last = sample(0), sample(3)
    assert (end.boot, end.manoeuvre, end.pairs, end.reason) == (BOOT, 3, 9, "interrupted")
    assert (end.started_utc_us, end.ended_utc_us) == (first.utc_us, last.utc_us)
    assert (end.stop_label, end.stop_estimate) == (None, None)
    assert (end.device, end.task, end.deployment) == (last.device, last.task, last.deployment)


def test_a_clock_that_was_set_back_makes_no_manoeuvre_that_ends_before_it_starts() -> None:
    end = end_of([sample(0, utc_us=2_000), sample(1, utc_us=1_000)], pairs=2)
    assert end.started_utc_us <= end.ended_utc_us


@pytest.mark.parametrize("others", [[], [sample(0, manoeuvre=1), sample(1, manoeuvre=2)]])
def test_the_pairs_of_one_manoeuvre_are_asked_for(others: list[Sample]) -> None:
    with pytest.raises(ValueError, match="one manoeuvre"):
        end_of(others, pairs=1)
