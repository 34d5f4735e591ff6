"""The pure rules: registry, rollout, measured error, retraining."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.cars import registry
from fleet_server.cars.registry import Known
from fleet_server.drift.measured_error import (
    ManoeuvreError,
    Reference,
    Rule,
    field_reference,
    rise,
)
from fleet_server.rollout.rules import DesiredState, Version, next_state, to_promote
from fleet_server.training import retraining
from fleet_server.training.retraining import Harm, Policy, Situation
from shared.errors import RefusedError
from shared.ids import boot_id
from shared.messages import Presence

FIRST, SECOND = boot_id(1, b"abcd"), boot_id(2, b"abcd")
RULE = Rule(factor=2.0, margin=5.0, window=3, reference_manoeuvres=5)
TEST = Reference(mae=4.0, origin="test")


def _errors(*maes: float, device: str = "car-1", start: int = 1) -> list[ManoeuvreError]:
    return [
        ManoeuvreError(id=start + i, device=device, mae=mae, since_sample=100 * (start + i))
        for i, mae in enumerate(maes)
    ]


def _presence(boot: str, connection: int, *, online: bool) -> Presence:
    return Presence(device="car-1", boot=boot, connection=connection, online=online)


@pytest.mark.parametrize(
    ("boot", "connection", "online", "accepted"),
    [
        (SECOND, 5, True, True),
        (SECOND, 5, False, True),
        (SECOND, 4, False, False),
        (SECOND, 6, True, True),
        (FIRST, 9, True, False),
        # The last will of the connection that is known, written before drive was restarted.
        (FIRST, 5, False, True),
        (FIRST, 4, False, False),
    ],
)
def test_presence_counts_for_the_connection_known_or_a_later_one(
    boot: str, connection: int, *, online: bool, accepted: bool
) -> None:
    known = Known(boot=SECOND, connection=5, online=True)
    said = _presence(boot, connection, online=online)
    assert registry.accepts_presence(known, said) is accepted


def test_the_first_presence_always_counts() -> None:
    assert registry.accepts_presence(Known(), _presence(FIRST, 0, online=True))


def test_a_report_for_another_car_is_refused() -> None:
    with pytest.raises(RefusedError, match="car-1"):
        registry.check_speaker(_presence(FIRST, 1, online=True), "car-2")


def test_a_rise_needs_a_whole_window_above_twice_the_reference() -> None:
    assert rise(_errors(4, 4, 30, 4, 4, 30, 4), TEST, RULE) is None
    found = rise(_errors(4, 4, 4, 30, 40, 35), TEST, RULE)
    assert found is not None
    assert found.median == 30
    assert found.since_manoeuvre == 4
    assert found.since_sample == 400
    assert "30.0 mm" in found.reason("mm")


def test_a_rise_within_the_margin_is_none() -> None:
    assert rise(_errors(*[5.9] * 9), Reference(mae=1.0, origin="field"), RULE) is None
    assert rise(_errors(*[6.1] * 9), Reference(mae=1.0, origin="field"), RULE) is not None


def test_windows_of_two_cars_do_not_mix() -> None:
    mixed = [
        each
        for pair in zip(
            _errors(*[30.0] * 2), _errors(*[4.0] * 2, device="car-2", start=50), strict=True
        )
        for each in pair
    ]
    assert rise(mixed, TEST, RULE) is None
    assert rise([*mixed, *_errors(30.0, start=90)], TEST, RULE) is not None


def test_the_reference_in_the_field_needs_enough_manoeuvres_that_are_not_bad_already() -> None:
    assert field_reference(_errors(5, 6, 7, 6), TEST, RULE) is None
    assert field_reference(_errors(5, 6, 7, 6, 5, 99), TEST, RULE) == Reference(
        mae=6, origin="field"
    )
    assert field_reference(_errors(*[20.0] * 5), TEST, RULE) is None


@given(st.lists(st.floats(0.0, 350.0), max_size=40), st.lists(st.floats(0.0, 350.0), max_size=9))
def test_a_rise_once_found_is_found_again_whatever_follows(
    maes: list[float], more: list[float]
) -> None:
    found = rise(_errors(*maes), TEST, RULE)
    if found is not None:
        assert rise(_errors(*maes, *more), TEST, RULE) == found


@given(st.lists(st.floats(0.0, 9.0), max_size=40))
def test_errors_at_or_below_the_limit_never_rise(maes: list[float]) -> None:
    assert rise(_errors(*maes), TEST, RULE) is None


QUIET = Situation(
    models=0,
    open_jobs=0,
    pairs=400,
    manoeuvres={"car-1": 9, "car-2": 9},
    harm=None,
    failures=0,
    failed_utc_us=0,
    now_utc_us=10**15,
)
HARM = Harm(verdict=7, reason="measured error risen", pairs_since=150)


@pytest.mark.parametrize(
    ("situation", "kind"),
    [
        (QUIET, "train-first"),
        (replace(QUIET, pairs=399), None),
        (replace(QUIET, manoeuvres={"car-1": 9, "car-2": 1}), None),
        (replace(QUIET, manoeuvres={}), None),
        (replace(QUIET, open_jobs=1), None),
        (replace(QUIET, models=1), None),
        (replace(QUIET, models=1, harm=HARM), "retrain"),
        (replace(QUIET, models=1, harm=replace(HARM, pairs_since=149)), None),
        (replace(QUIET, models=1, harm=HARM, open_jobs=1), None),
        (replace(QUIET, failures=1, failed_utc_us=10**15 - 1), None),
        (replace(QUIET, failures=1, failed_utc_us=0), "train-first"),
        (replace(QUIET, failures=3, failed_utc_us=0), None),
    ],
)
def test_the_policy_trains_exactly_where_its_table_says(
    situation: Situation, kind: str | None
) -> None:
    decision = retraining.decide(situation, Policy())
    assert (decision and decision.kind) == kind
    if decision is not None:
        assert decision.reason
        assert decision.evidence
        assert (decision.verdict == HARM.verdict) is (kind == "retrain")


def _version(number: int) -> Version:
    return Version(sha256=f"{number:064x}", version=number, path=f"t/d/{number:064x}.tflite")


def test_the_newest_version_becomes_latest_once() -> None:
    one, two = _version(1), _version(2)
    assert to_promote(None, []) is None
    assert to_promote(None, [one]) == one
    assert to_promote(one.sha256, [two, one]) == two
    assert to_promote(two.sha256, [one, two]) is None


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.sampled_from(["a", "b"]), st.sampled_from([None, "x", "y"])
        ),
        max_size=20,
    )
)
def test_revisions_rise_with_every_change_and_rest_without(
    wishes: list[tuple[int, str, str | None]],
) -> None:
    current: DesiredState | None = None
    for epoch, deployment, target in sorted(wishes, key=lambda each: each[0]):
        state = next_state(current, epoch=epoch, deployment=deployment, target=target)
        if state is None:
            assert current is not None
            assert (current.deployment, current.target) == (deployment, target)
            continue
        if current is not None:
            assert (state.epoch, state.revision) > (current.epoch, current.revision)
        current = state
        assert next_state(current, epoch=epoch, deployment=deployment, target=target) is None
