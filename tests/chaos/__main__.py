"""`python -m tests.chaos`: runs the chapters and writes out/chaos/report.json and report.md."""

import shutil
import sys
from pathlib import Path
from typing import Final

import click

from hardware_sim.lab.report import Check, write_json
from shared import cli, logs
from shared.clock import SystemClock
from shared.errors import UsageError
from tests.chaos import (
    broker_kills,
    clocks,
    decoders,
    herd,
    kills_report,
    limits,
    machine,
    network,
    poison,
    power,
    server_kills_report,
    soak,
    storage,
    trainer_kills,
)
from tests.chaos.chapter import Chapter, Stage, Told

CHAPTERS: Final[tuple[Chapter, ...]] = (
    kills_report.CHAPTER,
    server_kills_report.CHAPTER,
    trainer_kills.CHAPTER,
    broker_kills.CHAPTER,
    network.CHAPTER,
    herd.CHAPTER,
    limits.CHAPTER,
    poison.CHAPTER,
    power.CHAPTER,
    storage.CHAPTER,
    clocks.CHAPTER,
    soak.CHAPTER,
    machine.CHAPTER,
    decoders.CHAPTER,
)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m tests.chaos --quick --chapter kills",
)
@click.option("--quick", is_flag=True, help="Few repetitions: a look, no proof.")
@click.option(
    "--chapter",
    "names",
    type=click.Choice([each.name for each in CHAPTERS]),
    multiple=True,
    help="Only this one; repeatable.  [default: all]",
)
@click.option("--cycles", type=click.IntRange(1, 100_000), help="So many repetitions a chapter.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Draws what happens when.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/chaos"),
    show_default=True,
    help="Where the report goes.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/chaos"),
    show_default=True,
    help="Where processes keep files and logs; a folder a chapter, emptied at its start.",
)
@cli.json_option
def chaos(
    *,
    quick: bool,
    names: tuple[str, ...],
    cycles: int | None,
    seed: int,
    out: Path,
    state: Path,
    as_json: bool,
) -> int:
    """Try the promises for bad days on real processes, and report.

    Exit code 1 where a figure misses its limit.
    """
    clock = SystemClock()
    begun_us = clock.monotonic_us()
    _made(out)
    stages = {
        chapter: Stage(
            folder=_emptied(state / chapter.name),
            out=out,
            clock=clock,
            seed=seed,
            is_quick=quick,
            cycles=cycles,
        )
        for chapter in CHAPTERS
        if not names or chapter.name in names
    }
    told = {chapter: chapter.run(stage) for chapter, stage in stages.items()}
    checks = [check for each in told.values() for check in each.checks]
    write(told, checks, out, seconds=(clock.monotonic_us() - begun_us) / 1e6)
    cli.emit(
        {"report": str(out / "report.json"), "checks": [each.as_dict() for each in checks]},
        as_json=as_json,
        text="\n".join([*map(_line, checks), f"report: {out / 'report.md'}"]),
    )
    return 0 if all(check.met for check in checks) else 1


def write(told: dict[Chapter, Told], checks: list[Check], out: Path, *, seconds: float) -> None:
    """Write report.json and report.md into `out`."""
    body: dict[str, object] = {chapter.name: each.body for chapter, each in told.items()}
    write_json(out / "report.json", body, checks, seconds)
    parts = [f"## {chapter.title}\n\n{each.text}" for chapter, each in told.items()]
    (out / "report.md").write_text("\n\n".join(["# Chaos", *parts]) + "\n")


def _line(check: Check) -> str:
    met = "met    " if check.met else "NOT MET"
    return f"{met} {check.name}: {check.value:g} {check.unit}(limit {check.limit:g})"


def _emptied(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    return _made(folder)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None
    return folder


if __name__ == "__main__":
    logs.configure("warning")
    sys.exit(cli.run(sys.argv[1:], chaos, "python -m tests.chaos"))
