"""The report of an evaluation for people: tables and plots beside the reference's figures.

Law: it says what report.json holds, and nothing that is not in it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hardware_sim.lab.evaluation import confusion
from hardware_sim.lab.report import Check, checks_table

STAGES: Final = (
    ("alarm", "change to alarm"),
    ("asked", "alarm to training"),
    ("registered", "training to signed model"),
    ("tried", "signed model to trial on the cars"),
    ("loaded", "trial to loaded"),
)
"""The moments of a loop in their order, and what the way to each is called."""


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
        *_said(rows),
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


def _said(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield from (f"- phase {row['phase']}: {one['reason']}" for one in row["verdicts"])
        yield from (f"- phase {row['phase']}, nothing changed: {one}" for one in row["strays"])


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
