"""A model that answers otherwise than where it was made is noticed, on the golden pictures."""

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.drivers.tflite import TfliteModel
from device.golden import LIMIT_STEPS, compare, incomparable
from shared import golden
from shared.errors import RefusedError
from shared.manifest import Golden, Manifest
from shared.picture import Pixels

MODELS = Path(__file__).parents[1] / "golden" / "models"
OLD = Manifest.from_json((MODELS / "two-floors.json").read_bytes())
MADE = Manifest.from_json((MODELS / "two-floors.golden.json").read_bytes())
SHOWN = golden.pictures()


def told() -> Golden:
    assert MADE.golden is not None
    return MADE.golden


class Answering:
    """A model that answers what a manifest tells, shifted by whole steps at one picture."""

    def __init__(self, *, picture: int = 0, value: int = 0, log_sigma: int = 0) -> None:
        self._left = list(range(len(SHOWN)))
        self._shifts = {picture: (value, log_sigma)}

    def __call__(self, _picture: Pixels) -> tuple[float, float]:
        number = self._left.pop(0)
        by_value, by_log_sigma = self._shifts.get(number, (0, 0))
        value = told().value[number] + by_value - MADE.value.zero_point
        log_sigma = told().log_sigma[number] + by_log_sigma - MADE.log_sigma.zero_point
        span = MADE.task.span
        return value * MADE.value.scale * span, math.exp(log_sigma * MADE.log_sigma.scale) * span


def test_this_runtime_answers_as_the_one_that_made_the_model() -> None:
    model = TfliteModel(MODELS / "two-floors.tflite", MADE)
    agreement = compare(MADE, model.estimate, SHOWN)
    assert agreement is not None
    assert agreement.holds, str(agreement)
    assert agreement.pictures == len(SHOWN)


@given(
    picture=st.integers(0, len(SHOWN) - 1),
    value=st.integers(-40, 40),
    log_sigma=st.integers(-40, 40),
)
def test_steps_are_counted_and_more_than_two_are_another_answer(
    picture: int, value: int, log_sigma: int
) -> None:
    shifted = Answering(picture=picture, value=value, log_sigma=log_sigma)
    agreement = compare(MADE, shifted, SHOWN)
    assert agreement is not None
    worst = max(abs(value), abs(log_sigma))
    assert agreement.steps == pytest.approx(worst, abs=1e-6)
    assert agreement.holds == (worst <= LIMIT_STEPS)
    if abs(value) != abs(log_sigma):
        assert agreement.output == ("value" if abs(value) > abs(log_sigma) else "log_sigma")


def test_a_manifest_of_before_tells_nothing_and_says_so() -> None:
    assert compare(OLD, Answering(), SHOWN) is None
    assert "older trainer" in incomparable(OLD, SHOWN)


def test_another_set_tells_nothing_and_says_so() -> None:
    other = msgspec.structs.replace(told(), pictures="5" * 64)
    manifest = msgspec.structs.replace(MADE, golden=other)
    assert compare(manifest, Answering(), SHOWN) is None
    assert "555555555555 of golden pictures is unknown" in incomparable(manifest, SHOWN)


def test_a_model_that_is_not_quantised_has_no_steps() -> None:
    whole = msgspec.structs.replace(MADE.value, scale=0.0, dtype="float32")
    manifest = msgspec.structs.replace(MADE, value=whole)
    assert compare(manifest, Answering(), SHOWN) is None
    assert "not quantised" in incomparable(manifest, SHOWN)


def test_too_few_answers_are_refused() -> None:
    few = Golden(pictures=told().pictures, value=(1,), log_sigma=(1,))
    with pytest.raises(RefusedError, match="1 answers to 8"):
        compare(msgspec.structs.replace(MADE, golden=few), Answering(), SHOWN)


def test_a_sigma_too_small_for_a_float_is_compared_all_the_same() -> None:
    agreement = compare(MADE, lambda _picture: (0.0, 0.0), SHOWN)
    assert agreement is not None
    assert not agreement.holds
