"""Whole manoeuvres are held out, and stay so."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import blank, example
from trainer.data.dataset import Dataset
from trainer.data.examples import Example
from trainer.data.split import Split, split


def _examples(sizes: list[int], *, setting: str = "bench", device: str = "car-a") -> list[Example]:
    numbers = iter(range(10**6))
    return [
        example(
            next(numbers),
            manoeuvre=f"{setting}/{device}/{number:04d}",
            setting=setting,
            device=device,
        )
        for number, size in enumerate(sizes)
        for _ in range(size)
    ]


def _held(dataset: Dataset, made: Split) -> dict[str, set[str]]:
    return {
        name: {dataset.manoeuvre_names[each] for each in dataset.manoeuvres[rows]}
        for name, rows in made.parts().items()
    }


@given(sizes=st.lists(st.integers(1, 9), min_size=5, max_size=40), seed=st.integers(0, 2**31))
def test_a_split_shares_no_manoeuvre_and_loses_no_row(sizes: list[int], seed: int) -> None:
    whole = blank(_examples(sizes))
    made = split(whole, seed=seed)
    assert sorted(np.concatenate(list(made.parts().values())).tolist()) == list(range(len(whole)))
    held = _held(whole, made)
    assert all(held.values())
    assert not held["train"] & held["validation"]
    assert not held["train"] & held["test"]
    assert not held["validation"] & held["test"]
    assert len(held["train"]) > max(len(held["validation"]), len(held["test"]))


@given(of_each=st.lists(st.integers(3, 20), min_size=1, max_size=5), seed=st.integers(0, 2**31))
def test_every_setting_is_judged_and_learnt_from(of_each: list[int], seed: int) -> None:
    rows = [
        each
        for number, count in enumerate(of_each)
        for each in _examples([2] * count, setting=f"floor-{number}")
    ]
    if sum(of_each) < 5:
        return
    whole = blank(rows)
    for names in _held(whole, split(whole, seed=seed)).values():
        assert {name.split("/")[0] for name in names} == set(whole.setting_names)


@given(first=st.integers(14, 40), later=st.integers(1, 60), seed=st.integers(0, 2**31))
def test_what_was_held_out_for_judging_stays_so_as_more_comes(
    first: int, later: int, seed: int
) -> None:
    before, after = (
        blank(_examples([1] * count) + _examples([1] * 14, setting="yard"))
        for count in (first, first + later)
    )
    held_before, held_after = (_held(each, split(each, seed=seed)) for each in (before, after))
    assert held_before["test"] <= held_after["test"]


def test_the_shares_are_met_over_many_manoeuvres() -> None:
    whole = blank(
        [each for car in range(20) for each in _examples([1] * 70, device=f"car-{car:02d}")]
    )
    made = split(whole, seed=4)
    assert abs(len(made.test) / len(whole) - 1 / 7) < 0.01
    assert abs(len(made.validation) / len(whole) - 0.12) < 0.02


def test_the_seed_decides_the_split() -> None:
    whole = blank(_examples([2] * 60))
    first, again, other = (split(whole, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_held_out_manoeuvres_come_from_the_whole_time() -> None:
    whole = blank(_examples([2] * 42))
    for seed in range(20):
        numbers = whole.manoeuvres[split(whole, seed=seed).test]
        assert numbers.min() < 7
        assert numbers.max() >= 35
