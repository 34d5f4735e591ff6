"""What a chapter of the chaos report is: one promise for bad days, and an experiment that tries it.

Laws:
- a chapter runs alone and in any order; what it shares with others is the stage it is given;
- a figure that decides is a `Check`; a run in which too little was at stake is not met either;
- whatever is random comes from the stage's seed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hardware_sim.lab.report import Check
from shared.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a chapter is given: an empty `folder` of its own, and `out` for its plots.

    `cycles` overrules how often the chapter repeats its misfortune (None: as it thinks fit, fewer
    where `is_quick`).
    """

    folder: Path
    out: Path
    clock: Clock
    seed: int
    is_quick: bool
    cycles: int | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a chapter found: its checks, its own part of report.json, and Markdown for people."""

    checks: list[Check]
    body: dict[str, object]
    text: str


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One promise; `name` is that of the option, `title` the heading in report.md."""

    name: str
    title: str
    run: Callable[[Stage], Told]


def none(chapter: str, faults: Mapping[str, int]) -> list[Check]:
    """Return a check for each of `faults`, of which there should be none."""
    return [
        Check(name=f"{chapter}: {name}", value=count, unit="", limit=0, better="lower")
        for name, count in faults.items()
    ]


def enough(chapter: str, name: str, count: float, limit: float) -> Check:
    """Return a check that enough was at stake."""
    return Check(name=f"{chapter}: {name}", value=count, unit="", limit=limit, better="higher")
