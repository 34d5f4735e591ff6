"""What an evaluation showed, beside the reference: its rows, report.json, report.md and plots.

Laws:
- every number comes from the pairs on the server, the simulator's truth and the server's own
  verdicts and decisions of this run; the reference's are those of its author;
- an error before or after is that of the model that was in service then, over pictures it led.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

from hardware_sim.lab.evaluation import confusion, plots, recorded_phase
from hardware_sim.lab.evaluation.checks import checks_of, false_alarms
from hardware_sim.lab.evaluation.markdown import STAGES, markdown
from hardware_sim.lab.evaluation.stretches import Done, Measurement, Pairs, chosen
from hardware_sim.lab.measure import Pair, measure
from hardware_sim.lab.report import Check, write_json


def build(
    done: Sequence[Done],
    pairs: Pairs,
    out: Path,
    seconds: float,
    *,
    recorded: dict[str, Any] | None = None,
) -> list[Check]:
    """Write the report of `done` to the folder `out` and return its checks."""
    rows = [row_of(each, done[:at], pairs) for at, each in enumerate(done)]
    checks = [check for row in rows for check in checks_of(row)]
    checks.append(false_alarms(done, pairs))
    out.mkdir(parents=True, exist_ok=True)
    checks += [] if recorded is None else [recorded_phase.check(recorded)]
    body: dict[str, object] = {
        "phases": rows,
        "confusion": confusion.table(rows),
        "recorded": recorded,
    }
    write_json(out / "report.json", body, checks, seconds)
    plots.errors(done, rows, pairs, out / "error.png")
    plots.characteristics(done, pairs, out / "characteristics.png")
    plots.causes(confusion.table(rows), out / "causes.png")
    plots.loops(rows, [words for _, words in STAGES], out / "loops.png")
    (out / "report.md").write_text(markdown(rows, checks, seconds, recorded))
    return checks


def row_of(each: Done, earlier: Sequence[Done], pairs: Pairs) -> dict[str, Any]:
    """Return a phase's figures, after those `earlier`; errors in mm, None where there are none."""
    before, after = (chosen(one, pairs) for one in (each.before, each.after))
    hurting = [one for one in each.verdicts if one["kind"] != "change"]
    delays = list(_delays(each, hurting))
    return {
        "phase": each.phase.number,
        "title": each.phase.title,
        "expected": each.phase.expected,
        "is_mixed": bool(each.phase.floors),
        "is_gradual": bool(each.phase.steps),
        "before": asdict(measure(before)) if before else None,
        "after": asdict(measure(after)) if after else None,
        "last_mm": _last(earlier, pairs),
        "sensor_mm": _sensor_error(after or before),
        "reference": {"before": each.phase.before_mm, "after": each.phase.after_mm},
        "cause": each.phase.cause,
        "causes": [one["cause"] for one in hurting],
        "causes_expected": list(each.phase.causes),
        "verdicts": [
            {name: one[name] for name in ("device", "cause", "reason", "evidence")}
            for one in each.verdicts
        ],
        "strays": [one["reason"] for one in each.strays if one["kind"] != "change"],
        "open_at_the_end": each.opened,
        "manoeuvres_to_the_cause": median(delays) if delays else None,
        "decisions": [one["kind"] for one in each.decisions],
        "stages": _stages(each, hurting),
        "old": _old(each, earlier, pairs),
        "seconds": round(each.seconds, 1),
    }


def _mae(one: Measurement | None, pairs: Pairs) -> float:
    found = measure(chosen(one, pairs)).mae_sensor_mm
    return math.nan if found is None else found


def _last(earlier: Sequence[Done], pairs: Pairs) -> float | None:
    """Return the error in the last setting that a model was trained for."""
    known = [each.after for each in earlier if each.after is not None]
    return _mae(known[-1], pairs) if known else None


def _sensor_error(found: Sequence[Pair]) -> float:
    known = [
        abs(pair.sample.label - pair.truth_mm) for pair in found if pair.sample.label is not None
    ]
    return fmean(known) if known else math.nan


def _delays(each: Done, hurting: Sequence[dict[str, Any]]) -> Iterator[int]:
    """Yield, by car, the manoeuvre after the change with which its cause was named."""
    for verdict in hurting:
        used = verdict["evidence"].get("manoeuvres")
        if not used:
            continue
        mine = [one for one in each.manoeuvres if one["device"] == verdict["device"]]
        # What raised an alarm on the car arrives first: they count as they were driven.
        driven = [one["id"] for one in sorted(mine, key=lambda o: (o["boot"], o["manoeuvre"]))]
        at = [driven.index(number) + 1 for number in used if number in driven]
        if at:
            yield max(at)


def _stages(each: Done, hurting: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds of each stage of the loop, as far as it came."""
    moments = dict(each.times_us)
    if "changed" not in moments or each.phase.expected != "retrain":
        return {}
    asked = [one["utc_us"] for one in each.decisions if one["kind"] in ("retrain", "train-first")]
    moments |= {"alarm": min(one["utc_us"] for one in hurting)} if hurting else {}
    moments |= {"asked": min(asked)} if asked else {}
    found: dict[str, float] = {}
    last = moments["changed"]
    for name, words in STAGES:
        if name not in moments:
            break
        found[words] = round(max(0, moments[name] - last) / 1e6, 1)
        last = max(last, moments[name])
    return found


def _old(each: Done, earlier: Sequence[Done], pairs: Pairs) -> list[dict[str, Any]]:
    """Return the error in each earlier setting when it was last driven, and in this phase."""
    if each.phase.expected == "check-sensor":
        return []
    found = []
    for again in each.again:
        known = [
            one
            for phase in earlier
            for one in (phase.after, *(phase.again if phase.phase.expected == "retrain" else ()))
            if one is not None and one.setting == again.setting
        ]
        if known:
            then, now = _mae(known[-1], pairs), _mae(again, pairs)
            found.append({"setting": again.setting, "before": then, "after": now})
    return found
