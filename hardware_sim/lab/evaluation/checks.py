"""What an evaluation asks of its figures: one check for each, met or not.

Laws:
- a limit is the reference's figure, the sensor's own error, or a number of the task's, and stands
  here alone;
- a figure that could not be measured is not met.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, Final

from hardware_sim.lab.evaluation.stretches import Done, Pairs, chosen
from hardware_sim.lab.measure import measure
from hardware_sim.lab.report import Check

_RISE: Final = 2.0
_NEAR_MM: Final = 4.0
_LOOP_S: Final = 240.0
_WORSE: Final = 1.1
_WORSE_MM: Final = 0.5
_LAST: Final = 5
_FALSE_ALARMS: Final = 5.0
_DELAYS: Final = ((30.0, 3.0), (13.0, 12.0))
"""Errors in mm from which on an alarm must come within so many manoeuvres."""


def checks_of(row: dict[str, Any]) -> list[Check]:
    """Return the acceptance figures of a phase."""
    if row["expected"] == "retrain":
        return list(_of_a_loop(row))
    return list(_of_no_loop(row))


def false_alarms(done: Sequence[Done], pairs: Pairs) -> Check:
    """Return the verdicts that hurt or suspect the sensor, a thousand manoeuvres of no change."""
    calm = [one for each in done for one in (each.after, *each.again) if one is not None]
    calm += [e.before for e in done if e.before is not None and e.phase.cause == "none"
             and not e.phase.floors]  # fmt: skip
    driven = sum(measure(chosen(one, pairs)).manoeuvres for one in calm)
    wrong = [one for each in done for one in each.strays]
    wrong += [one for each in done if each.phase.cause == "none" for one in each.verdicts]
    alarms = sum(one["kind"] != "change" for one in wrong)
    value = 1000.0 * alarms / driven if driven else math.nan
    return _check(f"false alarms in a thousand manoeuvres ({driven} driven)", value, _FALSE_ALARMS)


def _of_no_loop(row: dict[str, Any]) -> Iterator[Check]:
    name = f"phase {row['phase']}"
    trained = float(row["decisions"].count("retrain"))
    yield _check(f"{name}, retrainings", trained, 0.0)
    if row["expected"] == "check-sensor":
        asked = float("check-sensor" in row["decisions"])
        yield _check(f"{name}, told to check the sensor", asked, 1.0, lower=False)
        yield _named(row)
        yield _check(f"{name}, verdicts open once it is mended", row["open_at_the_end"], 0.0)
    else:
        yield _check(f"{name}, verdicts that hurt", float(len(row["causes"])), 0.0)
    if row["is_mixed"]:
        yield from _slices(row)


def _of_a_loop(row: dict[str, Any]) -> Iterator[Check]:
    name = f"phase {row['phase']}"
    near = math.hypot(row["sensor_mm"], _NEAR_MM)
    reference = row["reference"]["after"]
    limit = near if reference is None else min(near, reference)
    yield _check(f"{name}, error after", _error(row["after"]), limit, "mm")
    if row["before"] is None:
        return
    before = _error(row["before"])
    rise = before / row["last_mm"] if row["last_mm"] else math.nan
    yield _check(f"{name}, error before over the last", rise, _RISE, lower=False)
    yield _named(row)
    within = next((most for least, most in _DELAYS if before >= least), None)
    if within is not None:
        delay = row["manoeuvres_to_the_cause"]
        value = math.nan if delay is None else delay
        yield _check(f"{name}, manoeuvres to the named cause", value, within)
    yield from _slices(row)
    yield _check(f"{name}, verdicts open at the end", row["open_at_the_end"], 0.0)
    if row["phase"] == _LAST:
        loop = sum(row["stages"].values()) if "trial to loaded" in row["stages"] else math.nan
        yield _check(f"{name}, from the change to the better model loaded", loop, _LOOP_S, "s")


def _named(row: dict[str, Any]) -> Check:
    right = [float(one in row["causes_expected"]) for one in row["causes"]]
    value = fmean(right) if right else math.nan
    return _check(f"phase {row['phase']}, causes named right", value, 1.0, lower=False)


def _slices(row: dict[str, Any]) -> Iterator[Check]:
    for old in row["old"]:
        limit = max(_WORSE * old["before"], old["before"] + _WORSE_MM)
        yield _check(f"phase {row['phase']}, {old['setting']} again", old["after"], limit, "mm")


def _check(name: str, value: float, limit: float, unit: str = "", *, lower: bool = True) -> Check:
    return Check(
        name=name, value=value, unit=unit, limit=limit, better="lower" if lower else "higher"
    )


def _error(measured: dict[str, Any] | None) -> float:
    value = None if measured is None else measured["mae_sensor_mm"]
    return math.nan if value is None else float(value)
