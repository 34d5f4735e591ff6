"""The update's state table and its laws."""

import itertools
from pathlib import Path
from typing import get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from device.update.arms import Split
from device.update.probation import Probation
from device.update.saved import Saved, State, committed_of, dump, load
from device.update.table import (
    TABLE,
    Better,
    Committed,
    Damaged,
    Event,
    Failed,
    Fetched,
    Kept,
    Passed,
    Resolved,
    Step,
    Unfit,
    Verified,
    advance,
    resume,
)
from device.update.wish import Wanted

GOLDEN = Path(__file__).parents[2] / "golden" / "update"
OLD, NEW = "a" * 64, "b" * 64
TARGET = f"wall-distance/beige/{NEW}.tflite"
OTHER = f"wall-distance/beige/{'c' * 64}.tflite"
STATES: tuple[State, ...] = get_args(State)
WISH = Wanted(target=TARGET, active=OLD)

EVENTS: dict[type[Step], Step] = {
    Resolved: Resolved(target=TARGET, model=NEW, release_seq=2),
    Fetched: Fetched(target=TARGET),
    Verified: Verified(target=TARGET),
    Damaged: Damaged(target=TARGET, reason="another digest"),
    Passed: Passed(target=TARGET, evidence={"latency_us": 1.0}),
    Unfit: Unfit(target=TARGET, reason="it crashed"),
    Better: Better(target=TARGET, reason="better", evidence={"manoeuvres": 9.0}),
    Committed: Committed(target=TARGET, probation=Probation(target=TARGET, model=NEW)),
}
PATH: tuple[Event, ...] = tuple(
    EVENTS[kind] for kind in (Resolved, Fetched, Verified, Passed, Committed)
)
TRIAL = Wanted(target=None, candidate=TARGET, active=OLD)
TRIED: tuple[Event, ...] = (*PATH[:-1], EVENTS[Better], PATH[-1])


OF_PROBATION: tuple[Event, ...] = (
    Kept(target=TARGET, evidence={}),
    Failed(target=TARGET, reason="worse", evidence={}),
)


def after(*events: Event) -> Saved:
    saved = Saved()
    for event in events:
        saved = advance(saved, event) or saved
    return saved


def in_state(state: State) -> Saved:
    return Saved(state=state, target=TARGET, model=NEW, release_seq=2, number=7, is_trial=True)


def test_a_new_model_passes_through_every_state_in_order() -> None:
    path = [WISH, *PATH]
    states = [after(*path[: n + 1]).state for n in range(len(path))]
    assert states == ["fetching", "fetching", "verifying", "probing", "committing", "idle"]
    done = after(*path)
    assert (done.target, done.model, done.release_seq) == (TARGET, NEW, 2)
    assert done.number == len(path)


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(STATES, EVENTS)))
def test_only_what_the_table_names_changes_the_state(state: State, kind: type[Step]) -> None:
    saved = in_state(state)
    if kind is Resolved:
        saved = msgspec.structs.replace(saved, model=None)
    moved = advance(saved, EVENTS[kind])
    expected = TABLE.get((state, kind))
    assert (moved.state if moved else None) == expected


@pytest.mark.parametrize("kind", EVENTS)
def test_what_concerns_another_target_changes_nothing(kind: type[Step]) -> None:
    for state in STATES:
        elsewhere = msgspec.structs.replace(in_state(state), target=OTHER)
        assert advance(elsewhere, EVENTS[kind]) is None


def test_a_candidate_that_is_to_share_the_driving_is_never_committed_by_the_car_alone() -> None:
    split = Split(draw="thompson", share=0.5)
    saved = after(msgspec.structs.replace(TRIAL, split=split), *PATH)
    assert (saved.state, saved.split) == ("choosing", split)
    promoted = advance(saved, Wanted(target=TARGET, active=OLD))
    assert promoted is not None
    assert (promoted.state, promoted.is_trial) == ("committing", False)
    dropped = advance(saved, Wanted(target=None, active=OLD))
    assert dropped is not None
    assert dropped.state == "idle"


@pytest.mark.parametrize(
    ("before", "after_it"),
    [(None, Split(draw="share", share=0.5)), (Split(draw="share", share=0.5), None)],
)
def test_a_trial_may_turn_into_sharing_and_back(
    before: Split | None, after_it: Split | None
) -> None:
    saved = after(msgspec.structs.replace(TRIAL, split=before), *PATH)
    moved = advance(saved, msgspec.structs.replace(TRIAL, split=after_it))
    assert moved is not None
    assert moved.state == ("choosing" if after_it else "shadowing")
    assert advance(moved, msgspec.structs.replace(TRIAL, split=after_it)) is None


@pytest.mark.parametrize("state", STATES)
def test_every_state_survives_being_saved(state: State) -> None:
    saved = in_state(state)
    assert load(dump(saved)) == saved


def test_nothing_or_nonsense_begins_from_idle() -> None:
    assert load(None) == load(b"\xff\x00nonsense") == Saved()


@pytest.mark.parametrize("state", [state for state in STATES if state != "probing"])
def test_a_kill_resumes_with_the_same_states_work(state: State) -> None:
    assert resume(in_state(state)) == in_state(state)


def test_a_probe_that_takes_the_agent_with_it_is_refused_at_the_third_time() -> None:
    saved = after(WISH, *(EVENTS[kind] for kind in (Resolved, Fetched, Verified)))
    starts = 0
    while saved.state == "probing":
        saved = resume(saved)
        starts += 1
    assert saved.state == "refused"
    assert starts == 3
    assert "without an end" in saved.reason


def test_a_refused_target_is_not_tried_again_until_another_is_named() -> None:
    refused = after(WISH, EVENTS[Unfit])
    assert refused.state == "refused"
    assert refused.reason == "it crashed"
    assert advance(refused, WISH) is None
    assert advance(refused, Wanted(target=None, active=OLD)) is None
    other = advance(refused, Wanted(target=OTHER, active=OLD))
    assert other is not None
    assert (other.state, other.target) == ("fetching", OTHER)
    again = advance(other, WISH)
    assert again is not None
    assert (again.state, again.target) == ("fetching", TARGET)


def test_a_wish_for_the_active_model_needs_no_work() -> None:
    wish = Wanted(target=TARGET, active=NEW)
    assert advance(Saved(), wish) is None
    for state in ("fetching", "verifying", "probing", "refused"):
        busy = msgspec.structs.replace(in_state(state), target=OTHER)
        left = advance(busy, wish)
        assert left is not None
        assert left.state == "idle"


def test_a_commit_is_never_left_half_way_for_the_active_model() -> None:
    assert advance(in_state("committing"), Wanted(target=TARGET, active=NEW)) is None


def test_a_file_damaged_three_times_is_refused() -> None:
    saved = after(WISH, EVENTS[Resolved])
    states = []
    for _ in range(3):
        saved = advance(saved, EVENTS[Fetched]) or saved
        saved = advance(saved, EVENTS[Damaged]) or saved
        states.append(saved.state)
    assert states == ["fetching", "fetching", "refused"]


def test_metadata_that_say_the_same_again_change_nothing() -> None:
    saved = after(WISH, EVENTS[Resolved])
    assert advance(saved, EVENTS[Resolved]) is None


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*EVENTS.values(), *OF_PROBATION]),
            st.builds(
                Wanted,
                target=st.sampled_from([None, TARGET, OTHER]),
                active=st.sampled_from([None, OLD, NEW]),
                candidate=st.sampled_from([None, TARGET, OTHER]),
            ),
            st.just(None),
        ),
        max_size=40,
    )
)
def test_no_way_leads_to_committing_but_through_verifying_and_probing(
    events: list[Event | None],
) -> None:
    saved, trail = Saved(), ["idle"]
    for event in events:
        # None stands for a kill and a start.
        moved = resume(load(dump(saved))) if event is None else advance(saved, event)
        if moved is None or moved == saved:
            continue
        if event is not None:
            assert moved.number == saved.number + 1 or isinstance(event, Kept)
        if moved.state != saved.state:
            trail.append(moved.state)
        saved = moved
    for before, state in itertools.pairwise(trail):
        if state == "committing":
            assert before in ("probing", "shadowing")
        if state == "shadowing":
            assert before == "probing"
        if state == "probing":
            assert before == "verifying"
        if before == "refused":
            assert state in ("fetching", "idle")


def test_the_newest_release_is_remembered_even_after_a_step_back() -> None:
    path = [WISH, *PATH]
    first = after(*path)
    assert first.newest == {"wall-distance/beige": 2}
    older = msgspec.structs.replace(first, state="committing", release_seq=1)
    back = advance(older, EVENTS[Committed])
    assert back is not None
    assert back.newest == {"wall-distance/beige": 2}
    assert committed_of(back) == {"wall-distance/beige": (1, 2)}


def test_a_candidate_is_tried_before_it_is_committed() -> None:
    path = [TRIAL, *TRIED]
    states = [after(*path[: n + 1]).state for n in range(len(path))]
    assert states == [
        *("fetching", "fetching", "verifying", "probing", "shadowing", "committing", "idle")
    ]
    assert after(*path).evidence == {"manoeuvres": 9.0}


def test_the_first_model_is_not_tried_beside_another() -> None:
    wish = Wanted(target=None, candidate=TARGET, active=None)
    assert after(wish, *PATH[:-1]).state == "committing"


def test_first_what_to_drive_by_then_what_to_try() -> None:
    wish = Wanted(target=OTHER, candidate=TARGET, active=OLD)
    assert after(wish).target == OTHER
    there = after(Wanted(target=OTHER, candidate=TARGET, active="c" * 64))
    assert (there.target, there.is_trial) == (TARGET, True)


def test_a_candidate_that_the_car_committed_stays_while_it_is_named() -> None:
    done = after(TRIAL, *TRIED)
    assert advance(done, Wanted(target=OTHER, candidate=TARGET, active=NEW)) is None
    left = advance(done, Wanted(target=OTHER, active=NEW))
    assert left is not None
    assert left.target == OTHER


def test_a_candidate_that_lost_is_not_tried_again_while_it_is_named() -> None:
    lost = after(TRIAL, *TRIED[:4], EVENTS[Unfit])
    assert lost.state == "refused"
    assert advance(lost, Wanted(target=None, candidate=TARGET, active=OLD)) is None
    # Nor where the target was refused too: the two would take turns for ever.
    both = Wanted(target=OTHER, candidate=TARGET, active=OLD)
    other = after(both, Unfit(target=OTHER, reason="unfit"))
    assert other.state == "refused"
    tried = advance(other, both)
    assert tried is not None
    assert tried.target == TARGET
    ended = advance(tried, EVENTS[Unfit])
    assert ended is not None
    assert advance(ended, both) is None


def test_no_candidate_is_begun_while_the_present_model_is_on_probation() -> None:
    done = after(WISH, *PATH)
    assert done.probation is not None
    wish = Wanted(target=TARGET, candidate=OTHER, active=NEW)
    assert advance(done, wish) is None
    kept = advance(done, Kept(target=TARGET, evidence={"manoeuvres": 20.0}))
    assert kept is not None
    begun = advance(kept, wish)
    assert begun is not None
    assert (begun.target, begun.is_trial) == (OTHER, True)


def test_a_model_that_fails_its_probation_is_rolled_back_and_never_tried_again() -> None:
    failed = after(WISH, *PATH, OF_PROBATION[1])
    assert (failed.state, failed.model, failed.reason) == ("rolled_back", NEW, "worse")
    assert advance(failed, WISH) is None
    elsewhere = advance(failed, Wanted(target=OTHER, active=OLD))
    assert elsewhere is not None
    for wish in (WISH, TRIAL):
        again = advance(elsewhere, wish)
        assert again is not None
        assert again.state == "idle"


def test_a_probation_that_fails_while_another_target_is_under_way_rolls_back() -> None:
    busy = after(WISH, *PATH, Wanted(target=OTHER, active=NEW))
    failed = advance(busy, OF_PROBATION[1])
    assert failed is not None
    assert (failed.state, failed.target, failed.model) == ("rolled_back", TARGET, NEW)


def test_what_is_tried_is_committed_at_once_where_the_server_wants_it_without_a_trial() -> None:
    shadowing = after(TRIAL, *TRIED[:4])
    assert shadowing.state == "shadowing"
    moved = advance(shadowing, WISH)
    assert moved is not None
    assert moved.state == "committing"


@pytest.mark.parametrize("name", ["fetching", "idle", "refused"])
def test_a_state_that_an_earlier_version_saved_is_gone_on_with(name: str) -> None:
    found = load((GOLDEN / f"v1-{name}.msgpack").read_bytes())
    assert (found.state, found.target) == (name, TARGET)
    assert committed_of(found)["wall-distance/beige"] in ((3,), (4,))
    if name == "refused":
        assert advance(found, WISH) is None
        assert advance(found, Wanted(target=OTHER, active=OLD)) is not None


def test_a_car_remembers_sixteen_of_what_it_committed_and_refused() -> None:
    saved = Saved()
    for number in range(1, 40):
        target = f"wall-distance/beige/{number:064x}.tflite"
        path = (
            Wanted(target=target, active=OLD),
            Resolved(target=target, model=f"{number:064x}", release_seq=number),
            Fetched(target=target),
            Verified(target=target),
            Passed(target=target, evidence={}),
            Committed(target=target, probation=Probation(target=target, model=f"{number:064x}")),
            Failed(target=target, reason="worse", evidence={}),
        )
        for event in path:
            saved = advance(saved, event) or saved
    assert load(dump(saved)) == saved
    assert committed_of(saved)["wall-distance/beige"] == tuple(range(24, 40))
    assert len(saved.rolled_back) == 16
