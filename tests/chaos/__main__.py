"""`python -m tests.chaos`: runs the chapters and writes out/chaos/report.json and report.md."""

import shutil
import sys
from pathlib import Path
from typing import Final

import click

from hardware_sim.lab.report import Check
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
    report,
    server_kills_report,
    soak,
    storage,
    trainer_kills,
)
from tests.chaos.chapter import Chapter, Stage

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
    help="Only this one, keeping the others' last figures; repeatable.  [default: all]",
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
    _made(out)
    wanted = [each for each in CHAPTERS if not names or each.name in names]
    # Whole paths: a watched disk is known by what SQLite calls it.
    folders = {each.name: _emptied(state.absolute() / each.name) for each in wanted}
    pages = report.last(out, is_quick=quick) if names else {}
    run: list[Check] = []
    for chapter in wanted:
        stage = Stage(
            folder=folders[chapter.name],
            out=out,
            clock=clock,
            seed=seed,
            is_quick=quick,
            cycles=cycles,
        )
        pages[chapter.name] = page = report.page_of(chapter, stage)
        report.write(pages, CHAPTERS, out, is_quick=quick)
        run += page.checks
        missed = [check for check in page.checks if not check.met]
        click.echo(f"{chapter.title}: {page.seconds:.0f} s, {len(missed)} missed", err=True)
        for check in missed:
            click.echo(f"  {_line(check)}", err=True)
    cli.emit(
        {"report": str(out / "report.json"), "checks": [each.as_dict() for each in run]},
        as_json=as_json,
        text="\n".join([*map(_line, run), f"report: {out / 'report.md'}"]),
    )
    return 0 if all(check.met for check in run) else 1


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
