"""How long a training takes, which of its rounds is kept, and how it ends badly."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import SystemClock
from shared.errors import RefusedError
from tests.trainer.conftest import TINY
from trainer.data.dataset import Part
from trainer.learning.rounds import STEPS_PER_ROUND, is_judged, look_after, planned_steps
from trainer.pipeline.folder import RunFolder
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


@given(st.integers(1, 400), st.floats(0.0, 0.99))
def test_the_last_round_and_the_one_looked_at_are_judged_and_all_that_learn_sigma(
    of: int, warm_up: float
) -> None:
    settings = TrainingSettings(warm_up=warm_up)
    judged = {each for each in range(1, of + 1) if is_judged(each, of, settings)}
    assert {of, look_after(of)} <= judged
    assert judged >= {each for each in range(1, of + 1) if each > warm_up * of}
    # Before that, a quarter of them.
    assert len(judged) <= of - (3 * int(warm_up * of)) // 4 + 2


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
    least = min(fitted.rounds, key=lambda each: each.validation_mae)
    assert [each.number for each in fitted.rounds] == [1, 2, 3]
    assert fitted.best == (fitted.rounds[-1] if keep == "last" else least)
    values, _ = fit.predict(fitted.network, validation)
    kept = float(np.mean(np.abs(values - validation.labels))) * TINY.span
    assert kept == pytest.approx(fitted.best.validation_mae, rel=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("_prepared")
def test_a_training_that_stood_still_ends_with_the_bytes_of_one_that_did_not(
    tmp_path: Path,
) -> None:
    from trainer.learning.fit import Fitted, Standing, Training
    from trainer.pipeline import kept

    train, validation = _parts()
    # Dropout draws, sigma is learnt, and the best round lies before the stop and after it.
    settings = msgspec.convert({**_SMALL, "steps": 150, "dropout": 0.3}, TrainingSettings)

    def training(stood: Standing | None = None) -> Training:
        return Training(train, validation, TINY, settings, stood=stood)

    def ended(begun: Training) -> Fitted:
        begun.go_on(on_round=lambda _round: None)
        return begun.fitted(seconds=0.0)

    at_once = ended(training())
    assert [each.number for each in at_once.rounds] == [3, 4, 5, 6]
    paused = training()
    paused.go_on(until=3, on_round=lambda _round: None)
    folder = RunFolder(tmp_path)
    kept.keep_standing(folder, paused.standing())
    stood = kept.read_standing(folder)
    assert stood is not None
    assert [each.number for each in stood.rounds] == [3]
    for gone_on in (ended(paused), ended(training(stood))):
        assert gone_on.rounds == at_once.rounds
        for one, other in zip(gone_on.weights(), at_once.weights(), strict=True):
            assert np.array_equal(one, other)
    # What is damaged, or of another training, is none: it is begun anew, to the same bytes.
    (tmp_path / kept.STANDING).write_bytes(b"PK damaged")
    assert kept.read_standing(folder) is None
    other = msgspec.structs.replace(settings, widths=(4, 8))
    with pytest.raises(ValueError, match="shape"):
        Training(train, validation, TINY, other, stood=stood)


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
