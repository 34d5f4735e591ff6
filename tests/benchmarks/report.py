"""The report of the benchmarks: read by people from the top, by machines from report.json.

Laws:
- every number was printed by a benchmark of this run, or is read from another command's own report,
  whose commit is named;
- a plot shows the same figures as the table beside it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from matplotlib.figure import Figure as Sheet

from hardware_sim.lab.report import provenance
from shared.errors import UsageError
from tests.benchmarks import scaling, standing
from tests.benchmarks.scaling import Curve
from tests.benchmarks.standing import Report, Row
from tests.benchmarks.targets import COMMANDS, Source

PLACES: Final[dict[Source, str]] = {"chaos": "chaos", "evaluate": "evaluation", "demo": "demo"}
"""The folders of other commands' reports, beside that of the benchmarks."""

LIMITS: Final = "limits.png"
GROWTH: Final = "growth.png"

_MET: Final = "#0a7d8c"
_MISSED: Final = "#b3387b"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """How a benchmark went: its seconds a run, its commit; `why` where it was left out or broke."""

    name: str
    what: str
    seconds: tuple[float, ...] = ()
    commit: str = ""
    why: str = ""


class Last(msgspec.Struct, frozen=True, kw_only=True):
    """What of the benchmarks' last report is kept where only some are run anew."""

    is_quick: bool
    commit: str
    taken: tuple[Taken, ...]
    benchmarks: dict[str, tuple[msgspec.Raw, ...]]


def read(out: Path) -> dict[Source, Report | None]:
    """Return the benchmarks' report in `out` and those beside it, None for each that is not there.

    Raises:
        UsageError: one of them is no report.
    """
    others = {name: _read(out.parent / folder / "report.json") for name, folder in PLACES.items()}
    return {"bench": _read(out / "report.json"), **others}


def _read(path: Path) -> Report | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is no report: {error}; remove it, and run again") from None


def last(out: Path, *, is_quick: bool) -> Last | None:
    """Return the benchmarks' last report in `out`; None where it is not there or not alike."""
    try:
        found = msgspec.json.decode((out / "report.json").read_bytes(), type=Last)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.is_quick == is_quick else None


def markdown(
    rows: Sequence[Row],
    checks: Sequence[standing.Figure],
    taken: Sequence[Taken],
    reports: Mapping[Source, Report | None],
    *,
    is_quick: bool,
    has_curves: bool,
) -> str:
    """Return report.md."""
    parts = [
        "# Benchmarks",
        _quick_words(taken) if is_quick else "",
        standing.summary(rows),
        _machine(reports),
        "## Targets",
        standing.table(rows),
        f"![How much of its limit each figure takes]({LIMITS})",
        "## Growth" if has_curves else "",
        f"![Costs over sizes, with the fitted exponents]({GROWTH})" if has_curves else "",
        "## Every figure",
        _figures(checks),
        "## Time taken",
        _times(taken),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _quick_words(taken: Sequence[Taken]) -> str:
    left = ", ".join(each.what for each in taken if each.why and not each.seconds)
    out = f" Left out, since it cannot be short: {left}." if left else ""
    return f"**A quick look: short runs, no figure to quote.**{out}"


def _machine(reports: Mapping[Source, Report | None]) -> str:
    found: dict[str, Any] = provenance()
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{sources(reports)} Versions: {versions}."


def sources(reports: Mapping[Source, Report | None]) -> str:
    """Return at which commits and on which machines the figures were measured."""
    lines = [
        f"`{COMMANDS[source]}` at {each.commit}{' (quick)' if each.is_quick else ''} on "
        f"{each.machine.get('processor', 'a machine')}, {each.machine.get('cores', '?')} cores"
        for source, each in reports.items()
        if each is not None
    ]
    return f"Measured by {'; '.join(lines)}."


def _figures(checks: Sequence[standing.Figure]) -> str:
    lines = ["| figure | measured | limit | met |", "|---|---:|---:|---|"]
    for each in checks:
        sign = "≤" if each.better == "lower" else "≥"
        limit = "" if each.limit is None else f"{sign} {standing.said(each.limit, each.unit)}"
        met = "yes" if each.share <= 1.0 else "**no**"
        lines.append(f"| {each.name} | {standing.said(each.value, each.unit)} | {limit} | {met} |")
    return "\n".join(lines)


def _times(taken: Sequence[Taken]) -> str:
    lines = ["| benchmark | runs | seconds | at commit | |", "|---|---:|---:|---|---|"]
    for each in taken:
        seconds = f"{sum(each.seconds):.0f}" if each.seconds else ""
        runs = len(each.seconds) or ""
        lines.append(f"| {each.what} | {runs} | {seconds} | {each.commit} | {each.why} |")
    return "\n".join(lines)


def plot_limits(shares: Sequence[tuple[str, float]], path: Path) -> None:
    """Draw how much of its limit each takes (name, share): what crosses the line misses it."""
    figure = Sheet(figsize=(9, 1.0 + 0.26 * len(shares)), layout="constrained")
    axes = figure.subplots()
    colours = [_MET if share <= 1.0 else _MISSED for _, share in shares]
    axes.barh(range(len(shares)), [min(share, 2.0) for _, share in shares], color=colours)
    axes.set_yticks(range(len(shares)), [name for name, _ in shares], fontsize=7)
    axes.axvline(1.0, color="#333333", linewidth=1)
    axes.set_xlim(0.0, 2.0)
    axes.set_ylim(-0.7, len(shares) - 0.3)
    axes.invert_yaxis()
    axes.set_xlabel("share of its limit (1: just met)", fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def plot_growth(curves: Sequence[Curve], path: Path) -> None:
    """Draw every curve with its fitted exponent."""
    across = min(3, len(curves))
    down = -(-len(curves) // across)
    figure = Sheet(figsize=(3.4 * across, 2.9 * down), layout="constrained")
    every = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, curve in zip(every, curves, strict=False):
        scaling.draw(axes, curve)
    for axes in every[len(curves) :]:
        axes.set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
