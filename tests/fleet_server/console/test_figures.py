from dataclasses import replace

from fleet_server.console.board import Board, compose
from fleet_server.console.figures import Figure
from fleet_server.reading.views import JobView
from tests.fleet_server.console.fleets import (
    CAR,
    EMPTY,
    NOW_US,
    ROLLOUT,
    RUNNING,
    running_fleet,
)


def figure(label: str, shown: Board) -> Figure:
    return next(each for each in shown.figures if each.label == label)


def test_pairs_on_their_way_are_the_difference_of_logged_and_stored() -> None:
    pairs = figure("Pairs stored", compose(running_fleet(), NOW_US))

    assert pairs.value == "1,240"
    assert pairs.note == "of 1,336 logged on the cars, 96 on their way"
    assert pairs.share == 1240 / 1336


def test_all_pairs_stored_says_so() -> None:
    fleet = running_fleet()
    whole = replace(fleet, totals=replace(fleet.totals, pairs_stored=1336))

    assert figure("Pairs stored", compose(whole, NOW_US)).note.endswith("none missing")


def test_a_status_that_is_older_than_the_pairs_never_shows_more_stored_than_logged() -> None:
    fleet = running_fleet()
    ahead = replace(fleet, totals=replace(fleet.totals, pairs_stored=2000))

    assert figure("Pairs stored", compose(ahead, NOW_US)).share == 1.0


def test_who_is_away_is_named() -> None:
    online = figure("Cars online", compose(running_fleet(), NOW_US))

    assert (online.value, online.note) == ("1 of 2", "away: car-2")


def test_many_that_are_away_are_counted() -> None:
    cars = tuple(replace(CAR, id=i, device=f"car-{i}", online=False) for i in range(5))
    online = figure("Cars online", compose(replace(EMPTY, devices=cars), NOW_US))

    assert online.note == "away: car-0, car-1, car-2 and 2 more"


def test_the_model_in_service_says_how_many_cars_run_it() -> None:
    service = figure("Model in service", compose(running_fleet(), NOW_US))

    assert (service.value, service.note) == ("v2", "1 of 2 cars run it")


def test_several_deployments_each_have_their_model() -> None:
    rollouts = (ROLLOUT, replace(ROLLOUT, deployment="yard", version=5, wanted=1, loaded=1))
    service = figure("Model in service", compose(replace(EMPTY, rollouts=rollouts), NOW_US))

    assert service.value == "v2 \u00b7 v5"
    assert service.note == "1 of 2 cars in garage, 1 of 1 car in yard"


def test_a_deployment_that_its_cars_have_left_is_passed_over() -> None:
    left = replace(ROLLOUT, deployment="yard", version=5, wanted=0, loaded=0)
    service = figure(
        "Model in service", compose(replace(EMPTY, rollouts=(left, ROLLOUT, left)), NOW_US)
    )
    assert (service.value, service.note) == ("v2", "1 of 2 cars run it")

    service = figure("Model in service", compose(replace(EMPTY, rollouts=(left,)), NOW_US))
    assert service.note == "none has been trained yet for these cars"


def test_the_error_now_is_the_mean_over_each_cars_last_manoeuvre() -> None:
    assert figure("Error now", compose(running_fleet(), NOW_US)).value == "5.5 mm"


def test_a_training_shows_its_stage_and_how_far_it_is() -> None:
    training = figure("Training", compose(running_fleet(), NOW_US))

    assert (training.value, training.note, training.share) == ("40%", "fit on trainer-1", 0.4)


def test_each_state_of_a_job_has_its_words() -> None:
    def words(job: JobView) -> tuple[str, str]:
        shown = figure("Training", compose(replace(EMPTY, job=job), NOW_US))
        return shown.value, shown.note

    assert words(replace(RUNNING, state="queued")) == ("waiting", "for a trainer to take it")
    assert words(replace(RUNNING, state="done")) == ("idle", "last job finished")
    assert words(replace(RUNNING, state="failed")) == ("idle", "last job failed")
