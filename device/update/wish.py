"""What a car does about the server's wish, without any IO.

Laws:
- first what the car ought to drive by (`target`), then what it is to try (`candidate`); a candidate
  that the car committed stays for as long as it is named;
- a target that was refused is not tried again while the server goes on naming it, and one that was
  rolled back is never tried again;
- a candidate that is to share the driving (`split`) is never committed by the car alone: the
  fleet's word makes it the target, or names it no more;
- one at a time: no candidate is begun while the present model is on probation;
- the first model of a car is not tried beside another: there is none.
"""

import msgspec

from device.update.arms import Split
from device.update.saved import Saved, is_tried, refused_of, step
from shared.messages import Desired
from shared.releases import digest_in
from shared.samples import Record


class Wanted(Record, frozen=True):
    """The server's wish in force; `active` is the model that the active slot holds.

    `split`: how the candidate and that model share the driving; None: it is tried beside it.
    """

    target: str | None
    active: str | None
    candidate: str | None = None
    split: Split | None = None


def wanted(desired: Desired, active: str | None) -> Wanted:
    """Return what `desired` wants of a car whose active slot holds `active`."""
    split = None
    if desired.candidate is not None and desired.candidate in desired.arms:
        share = min(max(desired.arms[desired.candidate], 0.0), 1.0)
        split = Split(draw=desired.draw, share=share)
    return Wanted(target=desired.target, active=active, candidate=desired.candidate, split=split)


def judge(saved: Saved, wish: Wanted) -> Saved | None:
    """Return the state that `wish` leads to, or None where it changes nothing."""
    named = {each for each in (wish.target, wish.candidate) if each is not None}
    # What is no longer named is forgotten; silence forgets nothing.
    kept = [each for each in refused_of(saved) if not named or each in map(digest_in, named)]
    known = msgspec.structs.replace(saved, refused=tuple(kept))
    goal = _goal(known, wish)
    if goal is None:
        return _rest(known, wish, named)
    target, is_trial = goal
    split = wish.split if is_trial else None
    if target == saved.target and saved.state not in ("idle", "refused", "rolled_back"):
        return _same_target(saved, is_trial=is_trial, split=split)
    return step(
        known,
        state="fetching",
        target=target,
        model=None,
        release_seq=0,
        damaged=0,
        probes=0,
        is_trial=is_trial,
        split=split,
        trial=None,
        arms=None,
    )


def _goal(saved: Saved, wish: Wanted) -> tuple[str, bool] | None:
    """Return the target to work for and whether it is to be tried first, or None."""
    target, candidate, active = wish.target, wish.candidate, wish.active
    keeps_candidate = candidate is not None and digest_in(candidate) == active
    if target is not None and not keeps_candidate and _is_open(saved, target, active):
        return target, False
    if candidate is None or not _is_open(saved, candidate, active) or saved.probation is not None:
        return None
    return candidate, active is not None


def _is_open(saved: Saved, target: str, active: str | None) -> bool:
    return digest_in(target) not in (active, *saved.rolled_back, *saved.refused)


def _rest(saved: Saved, wish: Wanted, named: set[str]) -> Saved | None:
    """Return the state of a car that has nothing to do for what is `named`."""
    if saved.state in ("idle", "committing"):
        return None
    # What became of a target is told for as long as it is named, and through silence.
    is_told = saved.state in ("refused", "rolled_back")
    if is_told and (not named or saved.target in named):
        return None
    served = next((each for each in named if digest_in(each) == wish.active), saved.target)
    return step(
        saved, state="idle", target=served, reason="no longer wanted", trial=None, arms=None
    )


def _same_target(saved: Saved, *, is_trial: bool, split: Split | None) -> Saved | None:
    if (saved.is_trial, saved.split) == (is_trial, split) or saved.state == "committing":
        return None
    known = msgspec.structs.replace(saved, is_trial=is_trial, split=split)
    if is_tried(saved) and not is_trial:
        return step(known, state="committing", reason="wanted without a trial")
    if is_tried(saved):
        return step(known, state="choosing" if split else "shadowing")
    return step(known)
