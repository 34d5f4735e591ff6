"""The two model slots."""

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from device.journal import DriveState, Journal

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def held(journal: Journal) -> dict[str, str]:
    return {row.state: (row.sha256 or "-")[0] for row in journal.slots()}


def test_a_candidate_is_staged_beside_the_active_model_and_changes_places_with_it(
    journal: Journal,
) -> None:
    journal.commit_slot(A, 1)
    journal.stage_slot(B, 2)
    assert held(journal) == {"active": "a", "shadow": "b"}
    assert (journal.active_model(), journal.shadow_model()) == (A, B)
    for _ in range(2):
        journal.commit_slot(B, 2, keep_asking=True)
        assert held(journal) == {"active": "b", "shadow": "a"}
    journal.settle_slots()
    assert held(journal) == {"active": "b", "standby": "a"}
    assert journal.shadow_model() is None


def test_a_candidate_that_lost_is_marked_and_its_slot_is_free_for_the_next(
    journal: Journal,
) -> None:
    journal.commit_slot(A, 1)
    journal.stage_slot(B, 2)
    journal.refuse_slot(B)
    assert held(journal) == {"active": "a", "refused": "b"}
    assert journal.held_models() == {A}
    journal.stage_slot(C, 3)
    assert held(journal) == {"active": "a", "shadow": "c"}
    journal.clear_shadow()
    assert held(journal) == {"active": "a", "empty": "-"}


def test_the_active_model_cannot_be_refused_only_stepped_back_from(journal: Journal) -> None:
    journal.commit_slot(A, 1)
    journal.refuse_slot(A)
    assert journal.active_model() == A
    journal.commit_slot(B, 2, keep_asking=True)
    for _ in range(2):
        journal.step_back(B)
        assert held(journal) == {"active": "a", "refused": "b"}
    journal.step_back(C)
    assert journal.active_model() == A


def test_a_step_back_from_the_first_model_leaves_none(journal: Journal) -> None:
    journal.commit_slot(A, 1)
    journal.step_back(A)
    assert journal.active_model() is None
    assert journal.held_models() == set()


CHANGES: tuple[Callable[[Journal, str], None], ...] = (
    lambda journal, model: journal.commit_slot(model, 1),
    lambda journal, model: journal.commit_slot(model, 1, keep_asking=True),
    lambda journal, model: journal.stage_slot(model, 1),
    lambda journal, model: journal.refuse_slot(model),
    lambda journal, model: journal.step_back(model),
    lambda journal, _: journal.clear_shadow(),
    lambda journal, _: journal.settle_slots(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, len(CHANGES) - 1), st.sampled_from([A, B, C])), max_size=12)
)
def test_any_change_made_twice_leaves_the_same_and_one_of_each_at_most(
    journal: Journal, changes: list[tuple[int, str]]
) -> None:
    journal.db.execute("PRAGMA synchronous = OFF")
    for number, model in changes:
        CHANGES[number](journal, model)
        once = journal.slots()
        CHANGES[number](journal, model)
        assert journal.slots() == once
        states = [row.state for row in once]
        assert states.count("active") <= 1
        assert states.count("shadow") <= 1


def test_starts_are_counted_until_one_follows_an_orderly_end(journal: Journal) -> None:
    counted = []
    for ends in (False, False, True, False, False):
        boot = journal.start_boot(bytes(4))
        counted.append(journal.unclean_starts())
        if ends:
            journal.set_drive_state(
                DriveState(boot=boot, loaded=None, release_seq=0, state="off", utc_us=1)
            )
    assert counted == [0, 1, 2, 0, 1]
