"""What a process without work begins: rules over the trials of a study, and nothing but rules.

Every draw is a training that is looked at after `LOOK` of its rounds. The best goes on to its end.

Laws:
- once all are looked at, the best of them goes on, if it does not yet;
- before that, the best so far goes on where the processes beside it will be through with all looks
  before it is at its end, and where no look is left to begin: it most often stays the best, and
  otherwise a core would be idle at the end;
- a process that has neither to do takes the longest look that nobody has begun;
- the search is over as the best of all looks is through; what else is on its way then is given up;
- a trial whose process died counts for nothing: it is to be begun again; one that diverged, or was
  stopped before its look, goes on no further.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from trainer.learning.rounds import LOOK
from trainer.search.plan import ASKED, DIVERGED, WHOLE


@dataclass(frozen=True)
class Standings:
    """The trials that count: `looks` by their draw, `whole` by the look that they go on from."""

    looks: dict[int, FrozenTrial]
    whole: dict[int, FrozenTrial]

    def ranked(self) -> list[FrozenTrial]:
        """Return the looks that may go on, the best first."""
        lost = {number for number, each in self.whole.items() if DIVERGED in each.user_attrs}
        in_time = [each for each in self.looks.values() if each.state == TrialState.COMPLETE]
        return sorted((each for each in in_time if each.number not in lost), key=rank)


def standings(trials: Iterable[FrozenTrial]) -> Standings:
    """Return those of `trials` that count."""
    found = Standings({}, {})
    for each in trials:
        dead = each.state == TrialState.FAIL and DIVERGED not in each.user_attrs
        if dead or ASKED not in each.user_attrs:
            continue
        if WHOLE in each.user_attrs:
            found.whole[each.user_attrs[WHOLE]] = each
        else:
            found.looks[each.user_attrs[ASKED]] = each
    return found


def looked_at(trials: Iterable[FrozenTrial]) -> int:
    """Return how many looks came to their end."""
    looks = standings(trials).looks.values()
    return sum(each.state == TrialState.COMPLETE for each in looks)


def rank(trial: FrozenTrial) -> tuple[float, int]:
    """Return what trials are sorted by: the least error, of one that was stopped as well."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return (trial.value, trial.number)
    return (min(trial.intermediate_values.values(), default=float("inf")), trial.number)


def to_begin(
    trials: Sequence[FrozenTrial], *, costs: Mapping[int, float], workers: int
) -> int | FrozenTrial | None:
    """Return the draw to look at, or the look to go on from; None while all processes have work.

    `costs` is what each draw's whole training costs, in any unit, in the order of their looks.
    """
    states = [each.state for each in trials]
    if states.count(TrialState.WAITING) + states.count(TrialState.RUNNING) >= workers:
        return None
    now = standings(trials)
    left = [draw for draw in costs if draw not in now.looks]
    best = next(iter(now.ranked()), None)
    if (
        best
        and best.number not in now.whole
        and (not left or _fit_beside(best, now, costs, workers))
    ):
        return best
    return left[0] if left else None


def is_over(trials: Sequence[FrozenTrial], *, draws: int) -> bool:
    """Tell whether the best of all looks is through, or none can be."""
    now = standings(trials)
    if len(now.looks) < draws or not all(each.state.is_finished() for each in now.looks.values()):
        return False
    best = next(iter(now.ranked()), None)
    if best is None:
        return True
    whole = now.whole.get(best.number)
    return whole is not None and whole.state == TrialState.COMPLETE


def share_left(look: FrozenTrial | None) -> float:
    """Return what share of its whole training is left until a look; all of it if not yet begun."""
    if look is None:
        return LOOK
    return 0.0 if look.state.is_finished() else max(0.0, LOOK - (look.last_step or 0) / 100)


def _fit_beside(
    best: FrozenTrial, now: Standings, costs: Mapping[int, float], workers: int
) -> bool:
    """Tell whether the looks that are left end sooner than `best`, by the other processes."""
    others = workers - 1 - sum(not each.state.is_finished() for each in now.whole.values())
    looks = sum(share_left(now.looks.get(draw)) * cost for draw, cost in costs.items())
    return looks <= others * (1.0 - LOOK) * costs[best.user_attrs[ASKED]]
