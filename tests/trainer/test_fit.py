"""How long a training takes, before it is begun."""

from hypothesis import given
from hypothesis import strategies as st

from trainer.learning.fit import STEPS_PER_ROUND, planned_steps
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
