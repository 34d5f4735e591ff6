"""Which training goes on: rules played through with processes that take no time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from shared.task import WALL_DISTANCE
from trainer.learning.rounds import LOOK
from trainer.search import halving
from trainer.search.plan import ASKED, DIVERGED, WHOLE, Plan, costs
from trainer.settings import TrainingSettings


def _trial(number: int, state: TrialState, value: float | None = None, **marks: Any) -> FrozenTrial:
    made = create_trial(
        state=TrialState.COMPLETE,
        value=0.0,
        user_attrs={k: v for k, v in marks.items() if k != "step"},
    )
    made.number, made.state, made.value = number, state, value
    made.intermediate_values = {marks["step"]: 1.0} if "step" in marks else {}
    made.datetime_start = datetime.now(UTC)
    return made


def _look(draw: int, value: float) -> FrozenTrial:
    return _trial(draw, TrialState.COMPLETE, value, **{ASKED: draw})


@dataclass
class _Search:
    """Processes at work on draws that cost `costs`; each look ends with its draw's error."""

    errors: list[float]
    costs: dict[int, float]
    workers: int
    kills: set[int] = field(default_factory=set)
    diverge: set[int] = field(default_factory=set)
    trials: list[FrozenTrial] = field(default_factory=list)
    left: dict[int, float] = field(default_factory=dict)
    now: float = 0.0

    def run(self) -> float:
        while not halving.is_over(self.trials, draws=len(self.errors)):
            while (
                found := halving.to_begin(self.trials, costs=self.costs, workers=self.workers)
            ) is not None:
                self._begin(found)
            if not self.left:
                return self.now  # Nothing is left that could go on.
            self._end(min(self.left, key=lambda each: self.left[each]))
        return self.now

    def _begin(self, found: int | FrozenTrial) -> None:
        number = len(self.trials)
        marks = (
            {ASKED: found} if isinstance(found, int) else {**found.user_attrs, WHOLE: found.number}
        )
        share = LOOK if isinstance(found, int) else 1.0 - LOOK
        self.trials.append(_trial(number, TrialState.RUNNING, **marks))
        self.left[number] = share * self.costs[marks[ASKED]]

    def _end(self, number: int) -> None:
        took = self.left.pop(number)
        self.now += took
        self.left = {each: rest - took for each, rest in self.left.items()}
        trial = self.trials[number]
        draw = trial.user_attrs[ASKED]
        if number in self.kills:
            trial.state = TrialState.FAIL
        elif draw in self.diverge:
            trial.state, trial.user_attrs[DIVERGED] = TrialState.FAIL, "diverged"
        else:
            trial.state, trial.value = TrialState.COMPLETE, self.errors[draw]


@given(
    st.lists(st.tuples(st.floats(1, 9), st.floats(1, 9)), min_size=1, max_size=9),
    st.integers(1, 4),
    st.sets(st.integers(0, 12), max_size=4),
    st.sets(st.integers(0, 8), max_size=3),
)
def test_the_best_of_all_looks_is_taken_to_its_end_whoever_dies_or_diverges(
    drawn: list[tuple[float, float]], workers: int, kills: set[int], diverge: set[int]
) -> None:
    errors = [error for error, _ in drawn]
    costing = {draw: cost for draw, (_, cost) in enumerate(drawn)}
    search = _Search(errors, costing, workers, kills, diverge)
    search.run()
    through = {
        each.user_attrs[ASKED]
        for each in search.trials
        if WHOLE in each.user_attrs and each.state == TrialState.COMPLETE
    }
    able = [draw for draw in range(len(errors)) if draw not in diverge]
    assert bool(through) == bool(able)
    if able:
        assert min(errors[draw] for draw in able) == min(errors[draw] for draw in through)
    # Nothing is begun twice, but for what a process died of.
    begun = [
        tuple(sorted(each.user_attrs.items()))
        for each in search.trials
        if each.number not in kills and DIVERGED not in each.user_attrs
    ]
    assert len(begun) == len(set(begun))


def test_the_best_so_far_goes_on_where_the_others_fit_beside_it() -> None:
    # Two processes; the longest is looked at, and best; a short look and a half are left.
    costing = {0: 8.0, 1: 4.0, 2: 4.0, 3: 4.0}
    under_way = _trial(2, TrialState.RUNNING, step=20, **{ASKED: 2})
    trials = [_look(0, 1.0), _look(1, 2.0), under_way]
    assert halving.to_begin(trials, costs=costing, workers=2) is trials[0]
    # It is on its way: the other process has the last look to begin, however good its own was.
    gone_on = _trial(3, TrialState.RUNNING, **{ASKED: 0, WHOLE: 0})
    trials = [*trials[:2], _look(2, 0.5), gone_on]
    assert halving.to_begin(trials, costs=costing, workers=2) == 3
    # All is looked at, and another was better: that goes on as well.
    trials.append(_look(3, 0.9))
    found = halving.to_begin(trials, costs=costing, workers=2)
    assert found is trials[2]
    assert not halving.is_over(trials, draws=4)


def test_only_looks_count_as_looked_at() -> None:
    through = _trial(1, TrialState.COMPLETE, 1.0, **{ASKED: 0, WHOLE: 0})
    stopped = _trial(2, TrialState.PRUNED, **{ASKED: 2})
    assert halving.looked_at([_look(0, 1.0), through, stopped]) == 1


def test_one_process_looks_at_all_before_it_goes_on() -> None:
    costing = {0: 8.0, 1: 1.0}
    assert halving.to_begin([_look(0, 1.0)], costs=costing, workers=1) == 1
    trials = [_look(0, 1.0), _look(1, 2.0)]
    assert halving.to_begin(trials, costs=costing, workers=1) is trials[0]


def test_four_draws_by_two_processes_take_less_than_half_of_one_after_the_other() -> None:
    # As long as the benchmark's; the longest is the best.
    costing = {0: 1.5, 1: 1.0, 2: 0.95, 3: 0.85}
    search = _Search([1.0, 1.1, 1.3, 1.2], costing, workers=2)
    assert search.run() < 0.4 * sum(costing.values())


def test_longest_first_and_what_the_sampler_chooses_last() -> None:
    plan = Plan(
        dataset_sha256="",
        snapshots="",
        task=WALL_DISTANCE,
        base=TrainingSettings(),
        trials=12,
        workers=2,
        pictures=1500,
    )
    found = costs(plan)
    assert sorted(found) == list(range(12))
    known = [cost for draw, cost in found.items() if draw < 8]
    assert known == sorted(known, reverse=True)
    assert list(found)[8:] == [8, 9, 10, 11]
