"""How a model goes through a fleet, by the rules alone, up to a thousand cars."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from fleet_server.rollout import stages
from fleet_server.rollout.stages import PLANS, Car, Standing, Verdict

CANARY, SHADOW = PLANS["canary"], PLANS["shadow"]
ROLLOUT = 7


def fleet(count: int = 100, standing: Standing = "waiting") -> list[Car]:
    return [Car(f"car-{number:04d}", standing) for number in range(count)]


def stand(cars: list[Car], standing: Standing, *names: str) -> list[Car]:
    return [replace(car, standing=standing) if car.name in names else car for car in cars]


def judge(cars: list[Car], stage: int = 0, elapsed_us: int = 0) -> Verdict | None:
    return stages.judge(CANARY, ROLLOUT, stage, cars, elapsed_us=elapsed_us)


def test_every_stage_holds_the_cars_of_the_one_before_and_the_last_one_all() -> None:
    cars = fleet()
    offered = [stages.offered(CANARY, ROLLOUT, stage, cars) for stage in range(3)]
    assert [len(each) for each in offered] == [5, 25, 100]
    assert all(before < after for before, after in pairwise(offered))
    assert stages.offered(CANARY, ROLLOUT + 1, 0, cars) != offered[0]


def test_there_is_a_canary_in_the_smallest_fleet_and_none_without_a_sensor() -> None:
    assert len(stages.offered(CANARY, ROLLOUT, 0, fleet(1))) == 1
    assert stages.offered(CANARY, ROLLOUT, 0, [Car("blind", "waiting", has_sensor=False)]) == set()
    assert judge([]) is None


def test_a_stage_passes_once_enough_keep_the_model_and_not_before() -> None:
    cars = fleet()
    names = sorted(stages.offered(CANARY, ROLLOUT, 0, cars))
    assert judge(stand(cars, "keeps", *names[:4])) is None
    verdict = judge(stand(cars, "keeps", *names))
    assert verdict is not None
    assert (verdict.move, verdict.count.keep) == ("advance", 5)
    last = judge(fleet(standing="keeps"), stage=2)
    assert last is not None
    assert last.move == "end"


@pytest.mark.parametrize("elapsed_us", [0, CANARY.deadline_us])
def test_more_failures_than_the_gate_allows_pause_at_once(elapsed_us: int) -> None:
    cars = fleet()
    names = sorted(stages.offered(CANARY, ROLLOUT, 0, cars))
    verdict = judge(stand(cars, "failed", names[0]), elapsed_us=elapsed_us)
    assert verdict is not None
    assert verdict.move == "pause"
    assert "1 refused it or stepped back" in verdict.reason


def test_silence_counts_as_failure_from_the_deadline_on() -> None:
    cars = fleet()
    names = sorted(stages.offered(CANARY, ROLLOUT, 1, cars))
    most = stand(cars, "keeps", *names[:20])
    assert judge(most, stage=1, elapsed_us=CANARY.deadline_us - 1) is None
    verdict = judge(most, stage=1, elapsed_us=CANARY.deadline_us)
    assert verdict is not None
    assert (verdict.move, verdict.count.silent) == ("pause", 5)
    enough = stand(cars, "keeps", *names[:22])
    verdict = judge(enough, stage=1, elapsed_us=CANARY.deadline_us)
    assert verdict is not None
    assert verdict.move == "pause"
    nearly = stand(cars, "keeps", *names[:23])
    verdict = judge(nearly, stage=1, elapsed_us=CANARY.deadline_us)
    assert verdict is not None
    assert verdict.move == "advance"


def test_a_shadow_ends_when_half_of_the_cars_keep_the_model() -> None:
    cars = [Car("car-1", "keeps"), Car("car-2", "waiting")]
    verdict = stages.judge(SHADOW, ROLLOUT, 0, cars, elapsed_us=0)
    assert verdict is not None
    assert verdict.move == "end"


def behaviour(name: str, silent: float, failing: float) -> str:
    place = int(name.rpartition("-")[2]) * 0.618033988749895 % 1.0
    return "silent" if place < silent else "failing" if place < silent + failing else "good"


def run(silent: float, failing: float) -> tuple[list[Verdict], Counter[str], list[Car]]:
    """Take a model through 1,000 cars; return the verdicts, what was told, and how all stand."""
    cars, told, verdicts = fleet(1000), Counter[str](), list[Verdict]()
    stage, elapsed_us = 0, 0
    while True:
        for name in stages.offered(CANARY, ROLLOUT, stage, cars):
            if told[name]:
                continue
            told[name] += 1  # One desired state tells a car of its candidate.
            does = behaviour(name, silent, failing)
            if does != "silent":
                cars = stand(cars, "failed" if does == "failing" else "keeps", name)
        verdict = stages.judge(CANARY, ROLLOUT, stage, cars, elapsed_us=elapsed_us)
        if verdict is None:
            assert elapsed_us < CANARY.deadline_us
            elapsed_us = CANARY.deadline_us
            continue
        verdicts.append(verdict)
        if verdict.move != "advance":
            return verdicts, told, cars
        stage, elapsed_us = stage + 1, 0


def test_a_thousand_cars_with_five_per_cent_silent_and_three_failing_end_the_rollout() -> None:
    verdicts, told, cars = run(silent=0.05, failing=0.03)
    assert [each.move for each in verdicts] == ["advance", "advance", "end"]
    assert [each.count.cars for each in verdicts] == [50, 250, 1000]
    assert max(told.values()) == 1
    standings = Counter(car.standing for car in cars)
    assert standings["keeps"] == pytest.approx(920, abs=3)
    assert standings["failed"] == pytest.approx(30, abs=3)


def test_a_thousand_cars_of_which_more_fail_than_the_gate_allows_pause_it_early() -> None:
    verdicts, told, _ = run(silent=0.05, failing=0.3)
    assert verdicts[-1].move == "pause"
    assert len(told) <= 250
