"""What an evaluation showed, beside the reference: rows, checks, report.json and report.md.

Laws:
- every number comes from the pairs on the server, the simulator's truth and the server's own
  verdicts and decisions of this run; the reference's are those of its author;
- an error before or after is that of the model that was in service then, over pictures it led;
- a figure that could not be measured is not met.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from hardware_sim.lab import confusion, recorded_phase
from hardware_sim.lab import evaluation_plots as plots
from hardware_sim.lab.evaluation import Done
from hardware_sim.lab.measure import Pair, measure
from hardware_sim.lab.report import Check, checks_table, write_json
from hardware_sim.lab.stretches import Measurement, Pairs, chosen

_RISE: Final = 2.0
_NEAR_MM: Final = 4.0
_LOOP_S: Final = 240.0
_WORSE: Final = 1.1
_WORSE_MM: Final = 0.5
_LAST: Final = 5
_FALSE_ALARMS: Final = 5.0
_DELAYS: Final = ((30.0, 3.0), (13.0, 12.0))
"""Errors in mm from which on an alarm must come within so many manoeuvres."""

STAGES: Final = (
    ("alarm", "change to alarm"),
    ("asked", "alarm to training"),
    ("registered", "training to signed model"),
    ("tried", "signed model to trial on the cars"),
    ("loaded", "trial to loaded"),
)
"""The moments of a loop in their order, and what the way to each is called."""


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
    asked = [one["utc_us"] for one in each.decisions if one["kind"] == "retrain"]
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


def markdown(
    rows: Sequence[dict[str, Any]],
    checks: list[Check],
    seconds: float,
    recorded: dict[str, Any] | None = None,
) -> str:
    """Return report.md."""
    lines = [
        "# The reference evaluation",
        "",
        f"{seconds:.0f} seconds; {sum(each.met for each in checks)} of {len(checks)} checks met.",
        "Mean absolute errors in mm: of the reference, and ours against the range sensor (against",
        "the simulator's truth).",
        "",
        *_table(rows),
        "",
        "![Error per manoeuvre](error.png)",
        "",
        "## Loops",
        "",
        *_loops(rows),
        "",
        "![Seconds of each stage](loops.png)",
        "",
        "## Old settings, before and after each loop",
        "",
        *_old_table(rows),
        "",
        *_recorded(recorded),
        "## What the server said",
        "",
        *[
            f"- phase {row['phase']}: {one['reason']}"
            for row in rows
            for one in [*row["verdicts"], *({"reason": f"stray: {e}"} for e in row["strays"])]
        ],
        "",
        "## Causes: what was changed, and what was named, by car",
        "",
        *confusion.markdown(confusion.table(rows)),
        "",
        "![Which change was named as which](causes.png)",
        "",
        "![Characteristics of the pictures, phase by phase](characteristics.png)",
        "",
        "## Checks",
        "",
        checks_table(checks),
        "",
    ]
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    headings = ("phase", "change", "before: reference", "ours", "after: reference", "ours")
    yield f"| {' | '.join((*headings, 'sensor', 'cause named', 'manoeuvres to it', 'decided'))} |"
    yield "|---|---|---:|---:|---:|---:|---:|---|---:|---|"
    for row in rows:
        decided = dict.fromkeys(row["decisions"])
        delay = row["manoeuvres_to_the_cause"]
        yield (
            f"| {row['phase']} | {row['title']} | {_mm(row['reference']['before'])} | "
            f"{_both(row['before'])} | {_mm(row['reference']['after'])} | {_both(row['after'])} | "
            f"{_mm(row['sensor_mm'])} | {', '.join(dict.fromkeys(row['causes']))} | "
            f"{'' if delay is None else f'{delay:g}'} | {', '.join(decided)} |"
        )


def _loops(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    names = [words for _, words in STAGES]
    yield f"| phase | {' | '.join(names)} | whole |"
    yield f"|---|{'---:|' * (len(names) + 1)}"
    for row in rows:
        if row["stages"]:
            each = [
                f"{row['stages'][name]:.0f} s" if name in row["stages"] else "" for name in names
            ]
            yield f"| {row['phase']} | {' | '.join(each)} | {sum(row['stages'].values()):.0f} s |"


def _old_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| phase | setting | before | after |"
    yield "|---|---|---:|---:|"
    for row in rows:
        for old in row["old"]:
            yield (
                f"| {row['phase']} | {old['setting']} | {_mm(old['before'])} | "
                f"{_mm(old['after'])} |"
            )


def _recorded(found: dict[str, Any] | None) -> Iterator[str]:
    if found is not None:
        yield "## Recorded data"
        yield ""
        yield (
            f"Learned from {found['learned']} pictures, judged on {found['judged']} of other "
            f"manoeuvres, 0 to {found['range_mm']:.0f} mm: {_mm(found['mae_sensor_mm'])} mm; the "
            f"best constant answer {_mm(found['constant_mm'])} mm."
        )
        yield from [found["reason"]] if found.get("reason") else []
        yield ""


def _both(measured: dict[str, Any] | None) -> str:
    if measured is None or measured["mae_sensor_mm"] is None:
        return ""
    return f"{_mm(measured['mae_sensor_mm'])} ({_mm(measured['mae_truth_mm'])})"


def _mm(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.1f}"
