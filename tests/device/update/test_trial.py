"""The paired trial of a candidate, picture by picture and manoeuvre by manoeuvre."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from device.update import trial
from device.update.trial import GATE, GATE_AFTER_HARM, MOST, MOST_SILENT, Pair, Trial
from shared.samples import Estimate, Sample
from shared.task import WALL_DISTANCE
from tests.device.records import sample

OURS, THEIRS, THIRD = "a" * 64, "b" * 64, "c" * 64
BEGUN = trial.begin(OURS, THEIRS, WALL_DISTANCE)
CAP_MM = 20.0


def measured(label: float | None = 100.0, **errors: float) -> Sample:
    """Return a sample whose models err by so much: `ours`, `theirs`, `third`."""
    models = {"ours": OURS, "theirs": THEIRS, "third": THIRD}
    return sample(
        label=label,
        estimates=tuple(
            Estimate(model=models[name], value=100.0 + error) for name, error in errors.items()
        ),
    )


def after(*found: Pair, harmed: bool = False) -> Trial:
    known = BEGUN
    for pair in found:
        known = trial.learn(known, pair, harmed=harmed)
    return known


def test_both_models_are_judged_on_the_same_pictures() -> None:
    samples = [measured(ours=10.0, theirs=-4.0), measured(ours=-20.0, theirs=2.0)] * 2
    assert trial.compare(samples, BEGUN) == Pair(15.0, 3.0)


def test_pictures_without_a_label_or_an_answer_tell_nothing() -> None:
    useless = [measured(label=None, ours=1.0, theirs=99.0), measured(), measured(third=5.0)]
    assert trial.compare(useless * 5, BEGUN) is None
    useful = [measured(ours=1.0, theirs=2.0)] * 3
    assert trial.compare([*useless, *useful], BEGUN) == Pair(1.0, 2.0)
    assert trial.compare(useful[:2], BEGUN) is None


def test_a_picture_that_only_one_answered_is_the_worst_for_the_other() -> None:
    samples = [measured(ours=5.0, theirs=5.0), measured(ours=5.0), measured(theirs=5.0)]
    found = trial.compare(samples, BEGUN)
    assert found is not None
    assert found.incumbent == pytest.approx((5 + 5 + 5 + CAP_MM) / 3)
    assert found.candidate == pytest.approx((5 + 5 + CAP_MM + 5) / 3)


def test_a_number_that_is_none_counts_as_no_answer() -> None:
    samples = [measured(ours=5.0, theirs=math.nan)] * 3
    assert trial.compare(samples, BEGUN) == Pair(5.0, None)


def test_the_cap_is_a_share_of_the_tasks_range() -> None:
    assert BEGUN.cap == pytest.approx(CAP_MM)
    assert after(Pair(500.0, 0.0)).wealth == after(Pair(20.0, 0.0)).wealth


def test_a_candidate_that_is_better_by_the_cap_needs_nine_manoeuvres_and_four_after_harm() -> None:
    better = [Pair(45.0, 6.0)] * 9
    assert trial.judge(after(*better[:8])) is None
    verdict = trial.judge(after(*better))
    assert verdict is not None
    assert verdict.is_better
    assert verdict.reason == "better on this car: mean error 6.0 beside 45.0 in 9 manoeuvres"
    assert trial.judge(after(*better[:3], harmed=True)) is None
    assert trial.judge(after(*better[:4], harmed=True)) is not None


def test_harm_that_was_declared_once_holds_to_the_end() -> None:
    known = trial.learn(trial.learn(BEGUN, Pair(9.0, 9.0), harmed=True), Pair(9.0, 9.0))
    assert known.gate == GATE_AFTER_HARM
    assert after(Pair(9.0, 9.0)).gate == GATE


def test_a_worse_candidate_is_given_up_and_one_that_gains_nothing_at_last() -> None:
    worse = trial.judge(after(*[Pair(6.0, 45.0)] * 9))
    assert worse is not None
    assert (worse.is_better, worse.reason[:5]) == (False, "worse")
    assert trial.judge(after(*[Pair(6.0, 6.0)] * (MOST - 1))) is None
    equal = trial.judge(after(*[Pair(6.0, 6.0)] * MOST))
    assert equal is not None
    assert equal.reason.startswith("not shown to be better")


def test_a_candidate_that_answers_nothing_is_given_up_unless_it_speaks_in_time() -> None:
    silent = Pair(6.0, None)
    assert trial.judge(after(*[silent] * (MOST_SILENT - 1), Pair(6.0, 6.0), silent)) is None
    verdict = trial.judge(after(*[silent] * MOST_SILENT))
    assert verdict is not None
    assert "no answer" in verdict.reason


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400)), max_size=MOST))
def test_evidence_is_never_negative_and_finite_whatever_is_driven(
    errors: list[tuple[float, float]],
) -> None:
    known = after(*(Pair(ours, theirs) for ours, theirs in errors))
    for value in trial.evidence(known).values():
        assert math.isfinite(value)
        assert value >= 0


@given(st.floats(-1, 1))
def test_evidence_for_equal_models_grows_by_nothing_on_average(gain: float) -> None:
    """The law of the supermartingale: over two outcomes that cancel out, the mean stays one."""
    up, down = (after(Pair(30 + CAP_MM * each, 30.0)) for each in (gain, -gain))
    for first, second in zip(up.wealth, down.wealth, strict=True):
        assert (first + second) / 2 == pytest.approx(1.0)
