"""The report of the chapters: report.json for machines, report.md for people.

Laws:
- it is written after each chapter: a run that is interrupted leaves what it found so far;
- a chapter that breaks is one that was not met, and the others are still run;
- where only some are run, the last figures of the others are kept, with the commit they are of.
"""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hardware_sim.lab.report import Check, provenance, write_json
from tests.chaos.chapter import Chapter, Stage, Told, none


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a chapter: figures and words, and of which commit, in how many seconds."""

    commit: str
    seconds: float
    checks: tuple[Check, ...]
    text: str
    found: Any


class _Last(msgspec.Struct, kw_only=True):
    is_quick: bool
    chapters: dict[str, Page]


def page_of(chapter: Chapter, stage: Stage) -> Page:
    """Run a chapter, and return what it told, or that it broke and where."""
    begun_us = stage.clock.monotonic_us()
    try:
        told = chapter.run(stage)
    except Exception:  # noqa: BLE001  # whatever breaks one chapter, the others are still run
        told = _broken(chapter, traceback.format_exc())
    return Page(
        commit=str(provenance()["commit"]),
        seconds=round((stage.clock.monotonic_us() - begun_us) / 1e6, 1),
        checks=tuple(told.checks),
        text=told.text,
        found=told.body,
    )


def _broken(chapter: Chapter, trace: str) -> Told:
    last = trace.strip().rsplit("\n", 1)[-1]
    text = f"**The chapter broke**: {last}\n\n```\n{trace}```"
    return Told(checks=none(chapter.name, {"chapters that broke": 1}), body={}, text=text)


def last(out: Path, *, is_quick: bool) -> dict[str, Page]:
    """Return the pages of the last report in `out`, none where there is none of that kind."""
    try:
        found = msgspec.json.decode((out / "report.json").read_bytes(), type=_Last)
    except (OSError, msgspec.MsgspecError):
        return {}
    return found.chapters if found.is_quick == is_quick else {}


def write(
    pages: dict[str, Page], chapters: Sequence[Chapter], out: Path, *, is_quick: bool
) -> list[Check]:
    """Write the report of the `pages` there are, in the order of `chapters`; return the checks."""
    there = [(each, pages[each.name]) for each in chapters if each.name in pages]
    checks = [check for _, page in there for check in page.checks]
    body: dict[str, object] = {
        "is_quick": is_quick,
        "chapters": {chapter.name: page for chapter, page in there},
    }
    write_json(out / "report.json", body, checks, sum(page.seconds for _, page in there))
    (out / "report.md").write_text(_markdown(there, chapters, is_quick=is_quick), "utf-8")
    return checks


def _markdown(
    there: Sequence[tuple[Chapter, Page]], chapters: Sequence[Chapter], *, is_quick: bool
) -> str:
    quick = ["**A quick look: few repetitions, no proof.**"] if is_quick else []
    rows = ["| chapter | figures met | seconds | commit |", "|---|---:|---:|---|"]
    for chapter, page in there:
        missed = sum(not check.met for check in page.checks)
        word = f"{len(page.checks) - missed} of {len(page.checks)}"
        word = f"**{word}**" if missed else word
        rows.append(f"| {chapter.title} | {word} | {page.seconds:.0f} | {page.commit[:12]} |")
    known = {chapter.name for chapter, _ in there}
    rows += [f"| {each.title} | not run | | |" for each in chapters if each.name not in known]
    parts = [f"## {chapter.title}\n\n{page.text}" for chapter, page in there]
    return "\n\n".join(["# Chaos", *quick, "\n".join(rows), *parts]) + "\n"
