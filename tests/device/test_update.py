"""The update's state table and its laws."""

import itertools
from typing import get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from device.update import (
    TABLE,
    Committed,
    Damaged,
    Event,
    Fetched,
    Passed,
    Resolved,
    Saved,
    State,
    Unfit,
    Verified,
    Wanted,
    advance,
    check_release,
    dump,
    load,
    resume,
)
from shared.errors import RefusedError
from shared.releases import MAX_MODEL_BYTES, Release
from shared.task import WALL_DISTANCE
from tests.device.releases import manifest

OLD, NEW = "a" * 64, "b" * 64
TARGET = f"wall-distance/beige/{NEW}.tflite"
OTHER = f"wall-distance/beige/{'c' * 64}.tflite"
STATES: tuple[State, ...] = get_args(State)
WISH = Wanted(target=TARGET, active=OLD)

EVENTS: dict[type[Event], Event] = {
    Resolved: Resolved(target=TARGET, model=NEW, release_seq=2),
    Fetched: Fetched(target=TARGET),
    Verified: Verified(target=TARGET),
    Damaged: Damaged(target=TARGET, reason="another digest"),
    Passed: Passed(target=TARGET, evidence={"latency_us": 1.0}),
    Unfit: Unfit(target=TARGET, reason="it crashed"),
    Committed: Committed(target=TARGET),
}


def after(*events: Event) -> Saved:
    saved = Saved()
    for event in events:
        saved = advance(saved, event) or saved
    return saved


def in_state(state: State) -> Saved:
    return Saved(state=state, target=TARGET, model=NEW, release_seq=2, number=7)


def test_a_new_model_passes_through_every_state_in_order() -> None:
    path = [WISH, *(EVENTS[kind] for kind in (Resolved, Fetched, Verified, Passed, Committed))]
    states = [after(*path[: n + 1]).state for n in range(len(path))]
    assert states == ["fetching", "fetching", "verifying", "probing", "committing", "idle"]
    done = after(*path)
    assert (done.target, done.model, done.release_seq) == (TARGET, NEW, 2)
    assert done.number == len(path)


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(STATES, EVENTS)))
def test_only_what_the_table_names_changes_the_state(state: State, kind: type[Event]) -> None:
    saved = in_state(state)
    if kind is Resolved:
        saved = msgspec.structs.replace(saved, model=None)
    moved = advance(saved, EVENTS[kind])
    expected = TABLE.get((state, kind))
    assert (moved.state if moved else None) == expected


@pytest.mark.parametrize("kind", EVENTS)
def test_what_concerns_another_target_changes_nothing(kind: type[Event]) -> None:
    for state in STATES:
        elsewhere = msgspec.structs.replace(in_state(state), target=OTHER)
        assert advance(elsewhere, EVENTS[kind]) is None


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
            st.sampled_from(list(EVENTS.values())),
            st.builds(
                Wanted,
                target=st.sampled_from([None, TARGET, OTHER]),
                active=st.sampled_from([None, OLD, NEW]),
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
            assert moved.number == saved.number + 1
        if moved.state != saved.state:
            trail.append(moved.state)
        saved = moved
    for before, state in itertools.pairwise(trail):
        if state == "committing":
            assert before == "probing"
        if state == "probing":
            assert before == "verifying"
        if before == "refused":
            assert state in ("fetching", "idle")


def check(
    release: Release,
    *,
    newest: dict[str, int] | None = None,
    in_slots: tuple[str, ...] = (),
    size_bytes: int | None = None,
) -> None:
    made = release.manifest
    check_release(
        release,
        target=f"{made.task.name}/{made.deployment}/{made.sha256}.tflite",
        size_bytes=made.size_bytes if size_bytes is None else size_bytes,
        task=WALL_DISTANCE,
        newest=newest or {},
        in_slots=in_slots,
        device_version="0.1.0",
    )


def release(seq: int = 2, *, pieces: int = 1, **changes: object) -> Release:
    made = msgspec.structs.replace(manifest(b"model", release_seq=seq), **changes)
    return Release(release_seq=seq, chunks=("d" * 64,) * pieces, manifest=made)


def test_a_fitting_release_passes_on_an_empty_car() -> None:
    check(release())


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (release(pieces=2), "2 pieces instead of 1"),
        (release(minimum_device="9.0.0"), "needs device software 9.0.0"),
        (release(minimum_device="new"), "no version number"),
        (release(task=msgspec.structs.replace(WALL_DISTANCE, high=400.0)), "another task"),
        (release(release_seq=3), "disagree in sequence"),
        (release(size_bytes=MAX_MODEL_BYTES + 1), f"{MAX_MODEL_BYTES + 1} bytes"),
        (release(size_bytes=0), "0 bytes"),
    ],
)
def test_an_unfit_release_is_refused_with_its_reason(unfit: Release, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        check(unfit)


def test_the_signed_size_rules() -> None:
    with pytest.raises(RefusedError, match="manifest says"):
        check(release(), size_bytes=6)


def test_an_older_release_than_one_committed_is_refused() -> None:
    with pytest.raises(RefusedError, match="older than 5"):
        check(release(4), newest={"wall-distance/beige": 5}, in_slots=(OLD,))
    check(release(5), newest={"wall-distance/beige": 5})


def test_the_model_committed_before_the_present_one_may_come_back() -> None:
    made = release(4)
    check(made, newest={"wall-distance/beige": 5}, in_slots=(OLD, made.manifest.sha256))


def test_each_deployment_numbers_its_own_releases() -> None:
    check(release(1), newest={"wall-distance/red": 9})


def test_the_newest_release_is_remembered_even_after_a_step_back() -> None:
    path = [WISH, *(EVENTS[kind] for kind in (Resolved, Fetched, Verified, Passed, Committed))]
    first = after(*path)
    assert first.newest == {"wall-distance/beige": 2}
    older = msgspec.structs.replace(first, state="committing", release_seq=1)
    back = advance(older, EVENTS[Committed])
    assert back is not None
    assert back.newest == {"wall-distance/beige": 2}
