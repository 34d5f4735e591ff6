"""A candidate on the car: tried, committed, on probation, or sharing the driving."""

import msgspec
import pytest

from device.agent.effects import (
    Effect,
    ToDrive,
)
from device.journal import DriveState
from shared.mqtt_events import Connected
from tests.device.agent.updates import (
    NEW,
    SHA,
    SHA_NEW,
    asked,
    commit,
    drive,
    events,
    fetch_all,
    install,
    passed,
    rolled_back,
    shadow,
    state,
)
from tests.device.agent.world import (
    MODEL,
    SECOND,
    Car,
    Fleet,
)
from tests.device.releases import manifest


def test_a_candidate_is_tried_on_the_car_and_kept_where_it_is_better(
    car: Car, fleet: Fleet
) -> None:
    candidate = shadow(car, fleet)
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, SHA_NEW)
    assert drive(car, SHA, 8, first=30, **{SHA: 45.0, SHA_NEW: 6.0})
    assert car.journal.active_model() == SHA
    effects = drive(car, SHA, 1, first=38, **{SHA: 45.0, SHA_NEW: 6.0})
    assert ToDrive(what="model") in effects
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA_NEW, SHA)
    done = events(effects)[-1]
    assert (done.state, done.target) == ("idle", candidate)
    assert done.evidence["manoeuvres"] == 9.0
    assert done.evidence["error_of_candidate"] == 6.0
    # What was decided offline is told at the next connection.
    (told,) = events(car.agent.handle(Connected()))
    assert told.evidence == done.evidence


def test_a_candidate_that_is_worse_here_is_refused_with_its_evidence(
    car: Car, fleet: Fleet
) -> None:
    shadow(car, fleet)
    effects = drive(car, SHA, 12, first=30, **{SHA: 6.0, SHA_NEW: 45.0})
    told = events(effects)[-1]
    assert (told.state, told.reason[:17]) == ("refused", "worse on this car")
    assert told.evidence["error_of_candidate"] == 45.0
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, None)
    assert not car.home.model(SHA_NEW).exists()
    assert car.start() == [ToDrive(what="model")]


@pytest.mark.parametrize("declared_by", ["server", "car"])
def test_after_declared_harm_a_few_manoeuvres_are_enough(
    car: Car, fleet: Fleet, declared_by: str
) -> None:
    candidate = shadow(car, fleet)
    if declared_by == "server":
        car.wish(None, revision=3, candidate=candidate, harm=True)
        drive(car, SHA, 4, first=30, **{SHA: 45.0, SHA_NEW: 6.0})
    else:
        promised = manifest(MODEL).metrics | {"test_mae": 6.0}
        made = msgspec.structs.replace(manifest(MODEL), metrics=promised)
        car.home.manifest(SHA).write_text(made.to_json())
        drive(car, SHA, 6, first=30, **{SHA: 45.0, SHA_NEW: 6.0})
    assert car.journal.active_model() == SHA_NEW


def test_a_kill_after_any_manoeuvre_of_a_trial_neither_skips_nor_repeats_one(
    car: Car, fleet: Fleet
) -> None:
    shadow(car, fleet)
    for number in range(30, 39):
        assert car.journal.active_model() == SHA
        car.start()
        drive(car, SHA, 1, first=number, **{SHA: 45.0, SHA_NEW: 6.0})
        known = state(car).trial
        assert known is None or known.manoeuvres == number - 29
    assert car.journal.active_model() == SHA_NEW


def test_a_committed_model_that_turns_out_worse_than_the_former_is_rolled_back_for_good(
    car: Car, fleet: Fleet
) -> None:
    candidate = commit(car, fleet)
    told = rolled_back(car, drive(car, SHA_NEW, 12, first=50, **{SHA: 6.0, SHA_NEW: 45.0}))
    assert "former model is better" in told.reason
    assert told.evidence["error_of_former"] == 6.0
    for revision, wish in enumerate((candidate, None, candidate), 5):
        assert asked(car.wish(wish, revision=revision)) == []
    assert car.journal.active_model() == SHA
    assert state(car).state != "fetching"


def test_a_committed_model_in_a_crash_loop_is_rolled_back(car: Car, fleet: Fleet) -> None:
    commit(car, fleet)
    car.journal.start_boot(bytes(4))
    for _ in range(2):
        car.journal.start_boot(bytes(4))
        car.clock.now_us += SECOND
        assert events(car.agent.tick()) == []
    car.journal.start_boot(bytes(4))
    car.clock.now_us += SECOND
    told = rolled_back(car, car.agent.tick())
    assert told.reason == "3 starts in a row came to nothing"


def test_starts_of_a_model_that_lives_for_a_minute_each_are_no_crash_loop(
    car: Car, fleet: Fleet
) -> None:
    commit(car, fleet)
    for _ in range(6):
        boot = car.journal.start_boot(bytes(4))
        car.journal.set_drive_state(
            DriveState(boot=boot, loaded=SHA_NEW, release_seq=2, state="idle", utc_us=1)
        )
        for _ in range(70):
            car.clock.now_us += SECOND
            assert events(car.agent.tick()) == []
    assert car.journal.active_model() == SHA_NEW


def test_a_candidate_that_kills_drive_again_and_again_is_refused(car: Car, fleet: Fleet) -> None:
    shadow(car, fleet)
    car.journal.start_boot(bytes(4))
    effects: list[Effect] = []
    for _ in range(3):
        car.journal.start_boot(bytes(4))
        car.clock.now_us += SECOND
        effects += car.agent.tick()
    (told,) = events(effects)
    assert (told.state, told.reason) == ("refused", "3 starts in a row came to nothing")
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, None)


def test_a_model_that_passes_its_probation_stays_and_the_former_one_rests(
    car: Car, fleet: Fleet
) -> None:
    commit(car, fleet)
    effects = drive(car, SHA_NEW, 20, first=50, **{SHA: 45.0, SHA_NEW: 6.0})
    (told,) = events(effects)
    assert (told.state, told.reason) == ("idle", "passed its probation")
    assert told.evidence["error_of_former"] == 45.0
    assert [slot.state for slot in car.journal.slots()] == ["standby", "active"]


def test_a_first_model_that_breaks_its_promise_leaves_the_car_to_its_sensor(
    car: Car, fleet: Fleet
) -> None:
    promised = msgspec.structs.replace(manifest(MODEL), metrics={"test_mae": 6.0})
    install(car, fleet.release(made=promised))
    effects = drive(car, SHA, 7, first=1, **{SHA: 60.0})
    assert events(effects)[-1].state == "rolled_back"
    assert car.journal.active_model() is None
    assert "manifest promises" in state(car).reason


def test_a_model_of_another_deployment_is_no_former_one(car: Car, fleet: Fleet) -> None:
    install(car, fleet.release())
    other = fleet.release(made=manifest(NEW, deployment="garage"), model=NEW)
    install(car, other, NEW, revision=2)
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA_NEW, None)
    known = state(car).probation
    assert known is not None
    assert known.reversed is None


def test_an_owner_who_lets_nothing_leave_is_not_told_on_by_an_update(
    car: Car, fleet: Fleet
) -> None:
    candidate = shadow(car, fleet)
    car.wish(None, revision=3, candidate=candidate, upload="none")
    told = events(drive(car, SHA, 12, first=30, **{SHA: 6.0, SHA_NEW: 45.0}))[-1]
    assert (told.state, told.reason, told.evidence) == ("refused", "worse on this car", {})
    assert "mean error" in state(car).reason


def share(car: Car, fleet: Fleet, **how: object) -> str:
    """Have a candidate share the driving with the model in service."""
    install(car, fleet.release())
    drive(car, SHA, 20, first=1, **{SHA: 6.0})
    candidate = fleet.release(NEW, release_seq=2)
    car.metadata()
    car.wish(None, revision=2, candidate=candidate, arms={candidate: 0.5}, **how)
    fetch_all(car, NEW)
    car.agent.handle(passed(candidate))
    assert state(car).state == "choosing"
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, SHA_NEW)
    return candidate


@pytest.mark.parametrize("draw", ["share", "thompson"])
def test_two_arms_are_told_manoeuvre_by_manoeuvre_and_neither_is_committed_by_the_car(
    car: Car, fleet: Fleet, draw: str
) -> None:
    share(car, fleet, draw=draw)
    effects = drive(car, SHA, 5, first=30, **{SHA: 20.0, SHA_NEW: 4.0})
    effects += drive(car, SHA_NEW, 30, first=40, **{SHA: 20.0, SHA_NEW: 4.0})
    told = events(effects)
    assert [each.state for each in told] == ["choosing"] * 35
    assert len({each.number for each in told}) == 35
    assert told[-1].evidence["driven_in_service"] == 5.0
    assert told[-1].evidence["driven_of_candidate"] == 30.0
    assert told[-1].evidence["error_of_candidate"] == pytest.approx(4.0)
    assert car.journal.active_model() == SHA


def test_the_fleets_word_ends_the_sharing_either_way(car: Car, fleet: Fleet) -> None:
    candidate = share(car, fleet)
    car.wish(candidate, revision=3)
    assert (car.journal.active_model(), state(car).state) == (SHA_NEW, "idle")
    known = state(car).probation
    assert known is not None
    assert known.reversed is not None


def test_an_arm_that_is_offered_no_more_leaves_its_slot(car: Car, fleet: Fleet) -> None:
    share(car, fleet)
    car.wish(None, revision=3)
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, None)
    assert state(car).state == "idle"


def test_a_share_that_changes_keeps_what_was_learnt(car: Car, fleet: Fleet) -> None:
    candidate = share(car, fleet)
    drive(car, SHA, 5, first=30, **{SHA: 6.0, SHA_NEW: 6.0})
    car.wish(None, revision=3, candidate=candidate, arms={candidate: 0.2}, draw="thompson")
    known = state(car)
    assert known.state == "choosing"
    assert known.split is not None
    assert (known.split.draw, known.split.share) == ("thompson", 0.2)
    assert known.arms is not None
    assert known.arms.of_incumbent.driven == 5
    assert car.journal.shadow_model() == SHA_NEW


def test_an_arm_that_does_harm_is_dropped_at_once_and_never_tried_again(
    car: Car, fleet: Fleet
) -> None:
    candidate = share(car, fleet)
    effects = drive(car, SHA_NEW, 1, first=30, **{SHA: 6.0, SHA_NEW: 90.0})
    told = events(effects)[-1]
    assert (told.state, told.reason.partition(":")[0]) == ("refused", "harm in one manoeuvre")
    assert told.evidence["driven_of_candidate"] == 1.0
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, None)
    car.clock.now_us += SECOND
    assert events(car.agent.tick()) == []
    assert candidate == state(car).target


def test_an_arm_that_kills_drive_again_and_again_is_dropped(car: Car, fleet: Fleet) -> None:
    share(car, fleet)
    car.journal.start_boot(bytes(4))
    effects: list[Effect] = []
    for _ in range(3):
        car.journal.start_boot(bytes(4))
        car.clock.now_us += SECOND
        effects += car.agent.tick()
    assert events(effects)[-1].reason == "3 starts in a row came to nothing"
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, None)


def test_a_kill_while_two_arms_drive_loses_no_manoeuvre_and_repeats_none(
    car: Car, fleet: Fleet
) -> None:
    share(car, fleet)
    for number in range(30, 40):
        drive(car, SHA_NEW, 1, first=number, **{SHA: 6.0, SHA_NEW: 5.0})
        car.start()
    known = state(car).arms
    assert known is not None
    assert known.of_candidate.driven == 10
