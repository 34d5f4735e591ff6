"""What counts as a labelled picture, the digest over them, and their split."""

import random
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RefusedError
from shared.task import Task
from tests.trainer.conftest import TINY, pair
from trainer import dataset
from trainer.client import Pair
from trainer.dataset import Dataset, Example, from_pair


def _examples(pairs: list[Pair], task: Task) -> list[Example | str]:
    return [from_pair(each.sample, each.jpeg, task) for each in pairs]


@pytest.fixture(scope="module")
def collected(pairs: list[Pair], task: Task) -> Dataset:
    return dataset.assemble(_examples(pairs, task), task)


def test_labels_are_scaled_to_the_tasks_range(collected: Dataset, pairs: list[Pair]) -> None:
    wanted = [each.sample.label for each in pairs]
    assert np.allclose(collected.labels * 100.0, np.asarray(wanted, dtype=float), atol=1e-4)
    assert collected.pictures.shape == (len(pairs), 16, 24, 3)
    assert collected.pictures.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "other"}, "other_task"),
        ({"sensor_status": "error", "label": None}, "no_label"),
        ({"sensor_status": "out_of_range"}, "no_label"),
        ({"label": 100.5}, "label_out_of_range"),
        ({"label": float("nan")}, "label_out_of_range"),
        ({"picture_sha256": "0" * 64}, "picture_damaged"),
    ],
)
def test_a_pair_that_proves_nothing_is_left_out_with_its_reason(
    change: dict[str, object], reason: str
) -> None:
    good = pair(1, manoeuvre=1)
    changed = msgspec.structs.replace(good.sample, **change)
    assert from_pair(changed, good.jpeg, TINY) == reason


def test_a_pair_without_its_picture_is_left_out() -> None:
    assert from_pair(pair(1, manoeuvre=1).sample, None, TINY) == "no_picture"


def test_what_was_left_out_is_counted(pairs: list[Pair], task: Task) -> None:
    unreadable = replace(_first(pairs, task), key="damaged", jpeg=b"\xff\xd8 no picture")
    mixed = [*_examples(pairs, task), "no_label", "no_label", unreadable]
    collected = dataset.assemble(mixed, task)
    assert collected.skipped == {"no_label": 2, "picture_unreadable": 1}
    assert len(collected) == len(pairs)


def _first(pairs: list[Pair], task: Task) -> Example:
    example = from_pair(pairs[0].sample, pairs[0].jpeg, task)
    assert isinstance(example, Example)
    return example


def test_the_data_set_does_not_depend_on_order_or_repetition(
    collected: Dataset, pairs: list[Pair], task: Task
) -> None:
    shuffled = _examples(pairs, task) + _examples(pairs[:5], task)
    random.Random(3).shuffle(shuffled)
    again = dataset.assemble(shuffled, task)
    assert again.sha256 == collected.sha256
    assert np.array_equal(again.pictures, collected.pictures)
    assert np.array_equal(again.manoeuvres, collected.manoeuvres)


def test_the_digest_changes_with_any_label(pairs: list[Pair], task: Task) -> None:
    examples = [each for each in _examples(pairs, task) if isinstance(each, Example)]
    other = pair(0, manoeuvre=0, label=1.0)
    changed = from_pair(other.sample, other.jpeg, task)
    assert isinstance(changed, Example)
    assert dataset.digest(examples) != dataset.digest([changed, *examples[1:]])


def test_too_little_is_refused_with_count_and_remedy(pairs: list[Pair], task: Task) -> None:
    few = _examples(pairs[:20], task)
    with pytest.raises(RefusedError, match=r"20 usable pairs.*60.*record more.*3 no_label"):
        dataset.assemble([*few, "no_label", "no_label", "no_label"], task)


def test_one_manoeuvre_is_refused(task: Task) -> None:
    one = [pair(n, manoeuvre=1, label=n % 100) for n in range(80)]
    with pytest.raises(RefusedError, match=r"1 manoeuvres, at least 5"):
        dataset.assemble(_examples(one, task), task)


def test_labels_all_alike_are_refused(task: Task) -> None:
    alike = [pair(n, manoeuvre=n // 10, label=50.0) for n in range(80)]
    with pytest.raises(RefusedError, match=r"all alike.*range sensor"):
        dataset.assemble(_examples(alike, task), task)


@given(sizes=st.lists(st.integers(1, 9), min_size=5, max_size=40), seed=st.integers(0, 2**31))
def test_a_split_shares_no_manoeuvre_and_loses_no_row(sizes: list[int], seed: int) -> None:
    manoeuvres = np.repeat(np.arange(len(sizes)), sizes)
    rows = len(manoeuvres)
    whole = Dataset(
        task=TINY,
        pictures=np.zeros((rows, 1, 1, 3), dtype=np.uint8),
        labels=np.zeros(rows, dtype=np.float32),
        manoeuvres=manoeuvres,
        sha256="0" * 64,
        skipped={},
    )
    split = dataset.split(whole, seed=seed)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    held = [set(manoeuvres[part].tolist()) for part in parts]
    assert all(held)
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    assert len(held[0]) > max(len(held[1]), len(held[2]))


def test_the_seed_decides_the_split(collected: Dataset) -> None:
    first, again, other = (dataset.split(collected, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_held_out_manoeuvres_come_from_the_whole_time() -> None:
    manoeuvres = np.repeat(np.arange(40), 2)
    whole = Dataset(
        task=TINY,
        pictures=np.zeros((80, 1, 1, 3), dtype=np.uint8),
        labels=np.zeros(80, dtype=np.float32),
        manoeuvres=manoeuvres,
        sha256="0" * 64,
        skipped={},
    )
    for seed in range(20):
        held = manoeuvres[dataset.split(whole, seed=seed).test]
        assert held.min() < 10
        assert held.max() >= 30
