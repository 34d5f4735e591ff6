"""What is done about verdicts: the policy's table, cell by cell."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.drift.naming import MENDED_BY_LEARNING, OF_SENSOR
from fleet_server.training import retraining
from fleet_server.training.retraining import TRAINS, Known, Policy, Situation

NOW_US = 10**15
FIRST = Situation(
    deployment="garage",
    models=0,
    open_jobs=0,
    pairs=400,
    cars=2,
    fewest_manoeuvres=9,
    known=(),
    failures=0,
    failed_utc_us=0,
    now_utc_us=NOW_US,
)
RED = Known(
    verdict=7,
    cause="covariate-shift",
    hurts=True,
    is_estimate=False,
    reason="car-1: measured error risen from 4.0 to 30.0: covariate shift",
    error=30.0,
    normal=4.0,
    pairs=150,
    manoeuvres=6,
)
ONE = replace(FIRST, models=1)
POLICY = Policy()


def _kinds(situation: Situation, policy: Policy = POLICY) -> list[str]:
    return [each.kind for each in retraining.decide(situation, policy)]


def _answer(known: Known, policy: Policy = POLICY, **changes: object) -> str:
    (kind,) = _kinds(replace(ONE, known=(known,), **changes), policy)  # type: ignore[arg-type]  # fields by name
    return kind


@pytest.mark.parametrize(
    ("situation", "kind"),
    [
        (FIRST, "train-first"),
        (replace(FIRST, pairs=399), "collect"),
        (replace(FIRST, fewest_manoeuvres=1), "collect"),
        (replace(FIRST, cars=0, fewest_manoeuvres=0), "collect"),
        (replace(FIRST, open_jobs=1), "wait"),
        (replace(FIRST, failures=1, failed_utc_us=NOW_US - 1), "wait"),
        (replace(FIRST, failures=1, failed_utc_us=0), "train-first"),
        (replace(FIRST, failures=3, failed_utc_us=0), "wait"),
    ],
)
def test_a_first_model_is_trained_exactly_where_there_is_data(
    situation: Situation, kind: str
) -> None:
    assert _kinds(situation) == [kind]


def test_without_a_verdict_nothing_is_decided() -> None:
    assert retraining.decide(ONE, POLICY) == ()


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        (RED, "retrain"),
        (replace(RED, cause="label-shift"), "retrain"),
        (replace(RED, pairs=149), "collect"),
        (replace(RED, manoeuvres=2), "collect"),
        (replace(RED, word="veto"), "nothing"),
        (replace(RED, cause="unnamed"), "wait"),
        (replace(RED, cause="model-or-runtime"), "check-model"),
        (replace(RED, cause="concept-or-sensor"), "check-sensor"),
        (replace(RED, cause="sensor-stuck", hurts=False), "check-sensor"),
        (replace(RED, cause="concept-or-sensor", word="approve"), "retrain"),
        (replace(RED, cause="concept-or-sensor", word="approve", pairs=3), "collect"),
        (replace(RED, cause="concept-or-sensor", word="veto"), "nothing"),
        (replace(RED, cause="appearance-changed", hurts=False), "nothing"),
        (replace(RED, cause="appearance-changed", hurts=False, is_estimate=True), "collect"),
        (replace(RED, failures=1, failed_utc_us=NOW_US - 1), "wait"),
        (replace(RED, failures=1, failed_utc_us=0), "retrain"),
        (replace(RED, failures=3, failed_utc_us=0), "wait"),
    ],
)
def test_a_verdict_is_answered_as_the_table_says(known: Known, kind: str) -> None:
    assert _answer(known) == kind


def test_a_cool_down_and_a_budget_hold_retrainings_back_but_no_person() -> None:
    lately = NOW_US - POLICY.cool_down_us + 1
    assert _answer(RED, retrained_utc_us=(lately,)) == "wait"
    assert _answer(RED, retrained_utc_us=(lately - 1,)) == "retrain"
    spent = (1,) * POLICY.budget
    assert _answer(RED, retrained_utc_us=spent) == "wait"
    assert _answer(replace(RED, word="approve"), retrained_utc_us=(*spent, lately)) == "retrain"


def test_where_a_person_must_approve_a_retraining_is_proposed_first() -> None:
    asking = Policy(asks=True)
    assert _answer(RED, asking) == "propose"
    assert _answer(replace(RED, word="approve"), asking) == "retrain"


def test_of_several_verdicts_the_worst_is_trained_for_and_only_one() -> None:
    worse = replace(RED, verdict=8, error=90.0)
    found = retraining.decide(replace(ONE, known=(RED, worse)), POLICY)
    assert [(each.verdict, each.kind) for each in found] == [(8, "retrain"), (7, "wait")]
    assert found[0].deployments == ("garage",)
    assert found[0].urgent


def test_a_little_harm_is_not_urgent() -> None:
    (found,) = retraining.decide(replace(ONE, known=(replace(RED, error=9.0),)), POLICY)
    assert (found.kind, found.urgent) == ("retrain", False)


CAUSES = sorted(
    MENDED_BY_LEARNING | OF_SENSOR | {"unnamed", "model-or-runtime", "appearance-changed"}
)


@given(
    st.sampled_from(CAUSES),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
    st.sampled_from([None, "approve", "veto"]),
    st.integers(0, 1),
)
def test_no_sensor_is_learned_from_unless_a_person_has_checked_it(  # noqa: PLR0917 - one draw each
    cause: str,
    hurts: bool,
    is_estimate: bool,
    pairs: int,
    word: str | None,
    open_jobs: int,
) -> None:
    known = replace(
        RED,
        cause=cause,
        hurts=hurts,
        is_estimate=is_estimate,
        pairs=pairs,
        word=word,  # type: ignore[arg-type]  # drawn from its values
    )
    (found,) = retraining.decide(replace(ONE, known=(known,), open_jobs=open_jobs), POLICY)
    assert found.reason
    assert found.verdict == known.verdict
    if found.kind in TRAINS:
        assert cause in MENDED_BY_LEARNING or word == "approve"
        assert hurts
        assert word != "veto"
        assert pairs >= POLICY.retrain_pairs
        assert not open_jobs
