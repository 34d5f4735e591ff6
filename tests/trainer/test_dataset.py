"""What counts as a labelled picture, and the digest over them."""

import random
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from shared.errors import RefusedError
from shared.task import Task
from tests.trainer.conftest import TINY, pair
from trainer.data import dataset
from trainer.data.dataset import Dataset
from trainer.data.examples import Example, from_pair
from trainer.worker.client import Pair


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
    assert dataset.table(examples) == dataset.table(examples[::-1])
    other = pair(0, manoeuvre=0, label=1.0)
    changed = from_pair(other.sample, other.jpeg, task)
    assert isinstance(changed, Example)
    assert dataset.table(examples) != dataset.table([changed, *examples[1:]])


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


def test_labels_outside_the_tasks_range_name_the_remedy(pairs: list[Pair], task: Task) -> None:
    narrow = msgspec.structs.replace(task, high=20.0)
    with pytest.raises(RefusedError, match=r"labels lie outside 0 to 20 mm.*wider range"):
        dataset.assemble(_examples(pairs, narrow), narrow)


@pytest.mark.parametrize(
    "change",
    [
        {"low": 5.0, "high": 5.0},
        {"high": float("inf")},
        {"low": float("nan")},
        {"picture_width": 8},
        {"picture_height": 4000},
    ],
)
def test_a_task_that_no_model_can_have_is_refused(
    pairs: list[Pair], task: Task, change: dict[str, float]
) -> None:
    changed = msgspec.structs.replace(task, **change)
    with pytest.raises(RefusedError, match="needs"):
        dataset.assemble(_examples(pairs, task), changed)


def test_no_pairs_at_all_are_refused_with_the_count(task: Task) -> None:
    with pytest.raises(RefusedError, match=r"0 usable pairs, at least 60.*none"):
        dataset.assemble([], task)


def test_the_commonest_reason_brings_its_remedy(pairs: list[Pair], task: Task) -> None:
    few = _examples(pairs[:5], task)
    with pytest.raises(RefusedError, match=r"3 no_picture.*let the cars upload"):
        dataset.assemble([*few, "no_label", "no_picture", "no_picture", "no_picture"], task)
