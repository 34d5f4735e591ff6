"""Where every promise stands: the targets beside what reports measured. Rules only, no IO.

Laws:
- a target is met where all of its figures are, against the limit that was asked for and against
  their own; one figure that misses is enough to miss it;
- a figure that is not there, or is no number, meets nothing: the target is "not run", or missed;
- what a test shows is neither met nor missed here: the row names the test;
- a quick look says so at every value that it measured.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from tests.benchmarks.targets import (
    COMMANDS,
    MISSED,
    PARTS,
    SECONDS,
    TARGETS,
    Source,
    Target,
)

Word = Literal["met", "missed", "not run", "by test"]

_WORDS: Final[dict[Word, str]] = {
    "met": "yes",
    "missed": "**no**",
    "not run": "not run",
    "by test": "by test",
}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A check as a report holds it; `value` is None where it was no number."""

    name: str
    value: float | None
    unit: str
    limit: float | None
    better: Literal["lower", "higher"]

    @property
    def share(self) -> float:
        """How much of its limit the value takes: above 1 it misses."""
        return share(self.value, self.limit, self.better)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What of a report.json counts here; `is_quick` where the run was a look only."""

    checks: tuple[Figure, ...]
    seconds: float = math.nan
    commit: str = "unknown"
    machine: dict[str, str | int | float] = {}
    is_quick: bool = False

    def figures(self) -> tuple[Figure, ...]:
        """Return the checks, and what the report says of itself."""
        missed = float(sum(each.share > 1.0 for each in self.checks))
        return (
            *self.checks,
            Figure(name=SECONDS, value=self.seconds, unit="s", limit=None, better="lower"),
            Figure(name=MISSED, value=missed, unit="", limit=None, better="lower"),
        )


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One target, and where it stands; `share` is how much of its limit is taken."""

    part: int
    name: str
    value: float | None
    unit: str
    limit: float | None
    better: Literal["lower", "higher"]
    word: Word
    where: str
    share: float | None = None
    is_quick: bool = False
    in_readme: bool = False


def share(value: float | None, limit: float | None, better: str) -> float:
    """Return how much of `limit` the value takes; infinite where it cannot be met."""
    if value is None or math.isnan(value):
        return math.inf
    if limit is None:
        return 0.0
    over, under = (value, limit) if better == "lower" else (limit, value)
    if under <= 0.0:
        # A limit of nothing at all: met by exactly that.
        return 0.0 if over <= under else math.inf
    return max(0.0, over / under)


def stand(
    reports: Mapping[Source, Report | None], targets: Sequence[Target] = TARGETS
) -> list[Row]:
    """Return where each target stands by `reports`; None is one that was never written."""
    return [_row(target, reports.get(target.source)) for target in targets]


def _row(target: Target, report: Report | None) -> Row:
    row = Row(
        part=target.part,
        name=target.name,
        value=None,
        unit=target.unit,
        limit=target.limit,
        better=target.better,
        word="by test" if target.source == "tests" else "not run",
        where=target.figures if target.source == "tests" else f"`{COMMANDS[target.source]}`",
        in_readme=target.in_readme,
    )
    found = [] if report is None else _matching(target, report.figures())
    if report is None or not found:
        return row
    worst = max(found, key=lambda each: _taken(target, each))
    taken = _taken(target, worst)
    return msgspec.structs.replace(
        row,
        value=worst.value,
        unit=target.unit or worst.unit,
        limit=worst.limit if target.limit is None else target.limit,
        word="met" if taken <= 1.0 else "missed",
        share=taken,
        is_quick=report.is_quick,
    )


def _matching(target: Target, figures: Iterable[Figure]) -> list[Figure]:
    wanted = re.compile(target.figures)
    return [each for each in figures if wanted.fullmatch(each.name)]


def _taken(target: Target, figure: Figure) -> float:
    return max(share(figure.value, target.limit, target.better), figure.share)


def table(rows: Sequence[Row]) -> str:
    """Return `rows` as Markdown: a heading a part, a line a target."""
    parts = []
    for number, title in PARTS.items():
        mine = [each for each in rows if each.part == number]
        if mine:
            lines = ["| target | reached | limit | met | measured by |", "|---|---:|---:|---|---|"]
            lines += [_line(each) for each in mine]
            parts.append(f"### {number}. {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _line(row: Row) -> str:
    reached = "" if row.word in {"not run", "by test"} else said(row.value, row.unit)
    quick = " (quick)" if row.is_quick else ""
    return f"| {row.name} | {reached}{quick} | {limited(row)} | {_WORDS[row.word]} | {row.where} |"


def limited(row: Row) -> str:
    """Return the limit in words, "" where there is none yet."""
    if row.limit is None:
        return ""
    if row.limit == 0.0 and row.better == "lower":
        return said(0.0, row.unit)
    return f"{'≤' if row.better == 'lower' else '≥'} {said(row.limit, row.unit)}"


def said(value: float | None, unit: str) -> str:
    """Return a number with its unit, as short as it stays true."""
    if value is None or math.isnan(value):
        return "none"
    number = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".rstrip()


def summary(rows: Sequence[Row]) -> str:
    """Return how many targets are met, missed, not run and shown by tests, and which are missed."""
    counts = {word: sum(each.word == word for each in rows) for word in _WORDS}
    text = (
        f"Of {len(rows)} targets **{counts['met']} are met, {counts['missed']} missed**, "
        f"{counts['not run']} not run here, {counts['by test']} shown by tests."
    )
    missed = [each.name for each in rows if each.word == "missed"]
    return f"{text} Missed: {'; '.join(missed)}." if missed else text
