"""What an evaluation showed, beside the reference: report.json, report.md and a plot.

Laws:
- every number comes from the pairs on the server, the simulator's truth and the server's own
  verdicts and decisions of this run; the reference's are those of its author;
- a figure that could not be measured is not met.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from matplotlib.figure import Figure

from hardware_sim.lab.evaluation import Done, Measurement
from hardware_sim.lab.measure import Pair, by_manoeuvre, measure
from hardware_sim.lab.report import Check, checks_table, write_json

Pairs = dict[str, list[Pair]]

_HEADINGS: Final = (
    *("phase", "change", "before, reference", "before", "after, reference", "after", "truth"),
    *("cause", "manoeuvres to it", "changed to loaded"),
)
_RISE: Final = 2.0
_NEAR_MM: Final = 4.0
_LOOP_S: Final = 240.0
_WORSE: Final = 1.1
_WORSE_MM: Final = 0.5
_LAST: Final = 5


def build(done: Sequence[Done], pairs: Pairs, out: Path, seconds: float) -> list[Check]:
    """Write the report of `done` to the folder `out` and return its checks."""
    rows = [row_of(each, done, pairs) for each in done]
    checks = [check for row in rows for check in checks_of(row)]
    write_json(out / "report.json", {"phases": rows}, checks, seconds)
    plot(done, pairs, out / "error.png")
    (out / "report.md").write_text(_markdown(rows, checks, seconds))
    return checks


def chosen(measurement: Measurement | None, pairs: Pairs) -> list[Pair]:
    """Return the pairs of a measurement."""
    if measurement is None:
        return []
    return [
        pair
        for name, run in measurement.runs.items()
        for pair in pairs.get(name, [])
        if pair.run == run
    ]


def row_of(each: Done, done: Sequence[Done], pairs: Pairs) -> dict[str, Any]:
    """Return a phase's figures; errors in mm, None where there are none."""
    before, after = (chosen(one, pairs) for one in (each.before, each.after))
    hurting = [one for one in each.verdicts if one["kind"] != "change"]
    return {
        "phase": each.phase.number,
        "title": each.phase.title,
        "expected": each.phase.expected,
        "before": asdict(measure(before)) if before else None,
        "after": asdict(measure(after)) if after else None,
        "sensor_mm": _sensor_error(after or before),
        "reference": {"before": each.phase.before_mm, "after": each.phase.after_mm},
        "causes": sorted({one["cause"] for one in hurting}),
        "causes_expected": list(each.phase.causes),
        "verdicts": [{"reason": one["reason"], "evidence": one["evidence"]} for one in hurting],
        "manoeuvres_to_the_cause": _delay(each, hurting),
        "decisions": [one["kind"] for one in each.decisions],
        "seconds": _seconds(each, hurting),
        "old": _old(each, done, pairs),
    }


def checks_of(row: dict[str, Any]) -> list[Check]:
    """Return the acceptance figures of a phase."""
    name = f"phase {row['phase']}"
    if row["expected"] != "retrain":
        trained = float(row["decisions"].count("retrain"))
        checks = [_check(f"{name}, retrainings", trained, 0.0)]
        if row["expected"] == "check-sensor":
            asked = float("check-sensor" in row["decisions"])
            checks.append(_check(f"{name}, told to check the sensor", asked, 1.0, lower=False))
        return checks
    after = _error(row["after"])
    near = math.hypot(row["sensor_mm"], _NEAR_MM)
    checks = [_check(f"{name}, error after", after, min(near, row["reference"]["after"]), "mm")]
    if row["before"] is None:
        return checks
    base = row["old"][-1]["before"] if row["old"] else math.nan
    checks.append(
        _check(
            f"{name}, error before over the last", _error(row["before"]) / base, _RISE, lower=False
        )
    )
    named = float(bool(set(row["causes"]) & set(row["causes_expected"])))
    checks.append(_check(f"{name}, cause named", named, 1.0, lower=False))
    for old in row["old"]:
        limit = max(_WORSE * old["before"], old["before"] + _WORSE_MM)
        checks.append(_check(f"{name}, {old['setting']} after", old["after"], limit, "mm"))
    if row["phase"] == _LAST:
        loop = row["seconds"].get("changed to loaded", math.nan)
        checks.append(_check(f"{name}, from the change to the better model", loop, _LOOP_S, "s"))
    return checks


def _check(name: str, value: float, limit: float, unit: str = "", *, lower: bool = True) -> Check:
    return Check(
        name=name, value=value, unit=unit, limit=limit, better="lower" if lower else "higher"
    )


def _error(measured: dict[str, Any] | None) -> float:
    value = None if measured is None else measured["mae_sensor_mm"]
    return math.nan if value is None else float(value)


def _sensor_error(found: Sequence[Pair]) -> float:
    known = [
        abs(pair.sample.label - pair.truth_mm) for pair in found if pair.sample.label is not None
    ]
    return fmean(known) if known else math.nan


def _delay(each: Done, hurting: Sequence[dict[str, Any]]) -> int | None:
    """Return the manoeuvre after the change, of both cars together, that named the cause."""
    last = [max(one["evidence"]["manoeuvres"]) for one in hurting if one["kind"] == "drift"]
    return min(last) - each.first_manoeuvre + 1 if last else None


def _seconds(each: Done, hurting: Sequence[dict[str, Any]]) -> dict[str, float]:
    began = each.times_us.get("changed")
    if began is None:
        return {}
    moments = {"loaded": each.times_us.get("loaded"), "registered": each.times_us.get("registered")}
    moments["verdict"] = min([one["utc_us"] for one in hurting], default=None)
    moments["asked"] = min(
        [one["utc_us"] for one in each.decisions if one["kind"] == "retrain"], default=None
    )
    return {
        f"changed to {name}": (moment - began) / 1e6
        for name, moment in sorted(moments.items(), key=lambda item: item[1] or 0)
        if moment is not None and moment > began
    }


def _old(each: Done, done: Sequence[Done], pairs: Pairs) -> list[dict[str, Any]]:
    """Return the error in each earlier setting when it was learned, and with the newest model."""
    found = []
    for again, earlier in zip(each.again, done, strict=False):
        then, now = (measure(chosen(one, pairs)) for one in (earlier.after, again))
        found.append(
            {
                "setting": again.setting,
                "before": then.mae_sensor_mm or math.nan,
                "after": now.mae_sensor_mm or math.nan,
            }
        )
    return found


def plot(done: Sequence[Done], pairs: Pairs, path: Path) -> None:
    """Draw the error of every manoeuvre, with the changes and the new models."""
    figure = Figure(figsize=(10, 4.2), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    at = 0
    for each in done:
        axes.axvline(at - 0.5, color="#b3387b", lw=1)
        axes.text(at, 1.01, each.phase.title, fontsize=7, rotation=12,
                  transform=axes.get_xaxis_transform())  # fmt: skip
        for measurement in (each.before, each.after):
            errors = [one.mae_sensor_mm for one in by_manoeuvre(chosen(measurement, pairs))]
            known = [one for one in errors if one is not None]
            colour = "#b3387b" if measurement is each.before else "#0a7d8c"
            axes.plot(range(at, at + len(known)), known, "o-", ms=3, lw=1, color=colour)
            at += len(known)
    axes.set(xlabel="manoeuvres, one after the other", ylabel="mean absolute error (mm)")
    axes.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _markdown(rows: Sequence[dict[str, Any]], checks: list[Check], seconds: float) -> str:
    lines = [
        "# The reference evaluation",
        "",
        f"{seconds:.0f} seconds. Mean absolute errors against the range sensor, in mm.",
        "",
        f"| {' | '.join(_HEADINGS)} |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|---:|",
    ]
    for row in rows:
        truth = (row["after"] or {}).get("mae_truth_mm")
        loop = row["seconds"].get("changed to loaded")
        lines.append(
            f"| {row['phase']} | {row['title']} | {_mm(row['reference']['before'])} | "
            f"{_mm(_error(row['before']))} | {_mm(row['reference']['after'])} | "
            f"{_mm(_error(row['after']))} | {_mm(truth)} | {', '.join(row['causes'])} | "
            f"{row['manoeuvres_to_the_cause'] or ''} | {'' if loop is None else f'{loop:.0f} s'} |"
        )
    told = [f"- phase {row['phase']}: {one['reason']}" for row in rows for one in row["verdicts"]]
    return "\n".join(
        [*lines, "", "![Error per manoeuvre](error.png)", "", *told, "", checks_table(checks), ""]
    )


def _mm(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.1f}"
