"""Which examples a training takes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import TINY, example
from trainer.data.examples import Example
from trainer.data.selection import Query, fair_share, select

_counts = st.lists(st.integers(1, 60), min_size=1, max_size=25)


def _cars(counts: list[int]) -> list[Example]:
    return [
        example(number, device=f"car-{car:02d}", label=float(number * 7 % 100))
        for car, count in enumerate(counts)
        for number in range(count)
    ]


@pytest.mark.slow
@given(_counts)
def test_no_car_of_ten_or_more_has_above_a_tenth(counts: list[int]) -> None:
    chosen = select(_cars(counts), TINY, Query(), most=10_000, seed=1)
    given = Counter(each.device for each in chosen.examples)
    if len(counts) >= 10:
        assert max(given.values()) * 10 <= len(chosen.examples)
    else:
        assert len(chosen.examples) == sum(counts)
    assert len(chosen.examples) + sum(chosen.left_out.values()) == sum(counts)


@given(_counts)
def test_no_more_is_taken_from_a_car_than_must_be(counts: list[int]) -> None:
    most = fair_share(counts)
    if len(counts) >= 10 and most < max(counts):
        # One picture more of each loud car, and it would be above a tenth.
        assert (most + 1) * 10 > sum(min(count, most + 1) for count in counts)


@pytest.mark.slow
@given(_counts, st.integers(10, 200), st.integers(0, 9))
def test_what_is_taken_depends_on_keys_and_seed_alone(
    counts: list[int], most: int, seed: int
) -> None:
    cars = _cars(counts)
    once = select(cars, TINY, Query(), most=most, seed=seed)
    again = select(cars[::-1], TINY, Query(), most=most, seed=seed)
    assert once == again
    assert len(once.examples) <= most
    assert [each.key for each in once.examples] == sorted(each.key for each in once.examples)


def test_the_thin_strata_give_all_before_the_thick_give_more() -> None:
    many = [example(n, setting="beige", label=float(n % 100)) for n in range(1000)]
    few = [example(n, setting="green", label=float(n % 100)) for n in range(40)]
    chosen = select([*many, *few], TINY, Query(), most=200, seed=3)
    of_setting = Counter(each.setting for each in chosen.examples)
    assert of_setting == {"green": 40, "beige": 160}
    bins = Counter(int(each.label // 10) for each in chosen.examples if each.setting == "beige")
    assert max(bins.values()) - min(bins.values()) <= 1
    assert chosen.left_out == {"beyond_the_limit": 840}


def test_a_query_takes_what_it_asks_for_and_counts_the_rest() -> None:
    all_of_them = [
        example(1, device="car-a", utc_us=100),
        example(2, device="car-b", utc_us=200),
        example(3, device="car-b", setting="yard", utc_us=300),
        example(4, device="car-b"),
    ]

    def taken(query: Query) -> list[int]:
        chosen = select(all_of_them, TINY, query, most=10, seed=1)
        assert chosen.left_out["not_asked_for"] == 4 - len(chosen.examples)
        return sorted(int(each.digest, 16) for each in chosen.examples)

    assert taken(Query()) == [1, 2, 3, 4]
    assert taken(Query(devices=("car-b",))) == [2, 3, 4]
    assert taken(Query(deployments=("yard",))) == [3]
    assert taken(Query(since_utc_us=200)) == [2, 3]
    assert taken(Query(until_utc_us=200)) == [1]
    assert taken(Query(since_utc_us=150, until_utc_us=300, devices=("car-b",))) == [2]
