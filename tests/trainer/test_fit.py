"""How long a training takes, which of its rounds is kept, and how it ends badly."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import SystemClock
from shared.errors import RefusedError
from tests.trainer.conftest import TINY
from trainer.data.dataset import Part
from trainer.learning.rounds import STEPS_PER_ROUND, planned_steps, shortened
from trainer.settings import TrainingSettings


@given(st.integers(1, 10**6))
def test_every_training_is_bounded_by_steps(pictures: int) -> None:
    settings = TrainingSettings()
    steps = planned_steps(pictures, settings)
    assert settings.steps <= steps <= max(settings.steps, settings.most_steps)


def test_more_pictures_are_seen_as_often_as_few() -> None:
    settings = TrainingSettings(steps=100, passes=10, most_steps=5000, batch=20, mirror=True)
    assert planned_steps(50, settings) == 100
    assert planned_steps(1000, settings) == 10 * 2000 // 20
    assert planned_steps(10**6, settings) == 5000


def test_the_shortest_training_has_one_round() -> None:
    assert planned_steps(1, TrainingSettings(steps=1, passes=1)) == STEPS_PER_ROUND


def test_a_short_training_is_the_same_drawn_together_and_the_rest_is_as_long_as_is_left() -> None:
    whole = TrainingSettings(batch=8, steps=1000, passes=10, most_steps=4000)
    short = shortened(whole, 0.3)
    changed = {"steps": 300, "passes": 3, "most_steps": 1200}
    assert short == msgspec.structs.replace(whole, **changed)
    rest = msgspec.structs.replace(whole, restart=0.3)
    assert planned_steps(10, short) + planned_steps(10, rest) == planned_steps(10, whole) == 1000
    # However short, it is a training.
    assert planned_steps(1, shortened(TrainingSettings(steps=1), 0.2)) == STEPS_PER_ROUND


def _parts() -> tuple[Part, Part]:
    random = np.random.default_rng(5)
    shape = (40, TINY.picture_height, TINY.picture_width, 3)
    pictures = random.integers(0, 256, shape, dtype=np.uint8)
    labels = random.random(40).astype(np.float32)
    return Part(pictures[:30], labels[:30]), Part(pictures[30:], labels[30:])


@pytest.mark.slow
@pytest.mark.usefixtures("_prepared")
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_round_that_is_kept_is_the_one_that_was_asked_for(keep: str) -> None:
    from trainer.learning import fit

    train, validation = _parts()
    settings = msgspec.convert({**_SMALL, "keep": keep}, TrainingSettings)
    fitted = fit.fit(
        train, validation, TINY, settings, clock=SystemClock(), on_round=lambda _round: None
    )
    maes = [each.validation_mae for each in fitted.rounds]
    assert len(maes) == 3
    assert fitted.best_round == (3 if keep == "last" else maes.index(min(maes)) + 1)
    values, _ = fit.predict(fitted.network, validation)
    kept = float(np.mean(np.abs(values - validation.labels))) * TINY.span
    assert kept == pytest.approx(maes[fitted.best_round - 1], rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("_prepared")
def test_what_goes_on_from_a_short_training_is_what_makes_that_first_to_the_byte() -> None:
    from trainer.learning import fit

    train, validation = _parts()

    def fitted(settings: TrainingSettings, begun: Sequence[Any] | None = None) -> Any:
        return fit.fit(
            train,
            validation,
            TINY,
            settings,
            clock=SystemClock(),
            on_round=lambda _round: None,
            begun=begun,
        )

    settings = msgspec.convert({**_SMALL, "steps": 100, "restart": 0.5}, TrainingSettings)
    short = shortened(msgspec.structs.replace(settings, restart=0.0), settings.restart)
    first = fitted(short)
    gone_on = fitted(settings, first.weights())
    at_once = fitted(settings)
    assert gone_on.rounds == at_once.rounds
    for one, other in zip(gone_on.weights(), at_once.weights(), strict=True):
        assert np.array_equal(one, other)
    assert len(first.rounds) == len(at_once.rounds) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("_prepared")
def test_a_training_that_diverges_is_refused_with_the_remedy() -> None:
    from trainer.learning import fit

    train, validation = _parts()
    lost = Part(train.pictures, np.full(30, np.nan, dtype=np.float32))
    settings = msgspec.convert(_SMALL, TrainingSettings)
    with pytest.raises(RefusedError, match=r"diverged in round 1: lower the learning rate"):
        fit.fit(lost, validation, TINY, settings, clock=SystemClock(), on_round=lambda _r: None)


_SMALL = {"steps": 75, "passes": 1, "batch": 8, "widths": [4, 4], "hidden": 4, "patience": 0.99}
