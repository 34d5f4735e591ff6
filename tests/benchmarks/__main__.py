"""`python -m tests.benchmarks`: runs the benchmarks and writes out/bench/report.json and report.md.

Laws:
- a benchmark that breaks fails the command, and the others are still run;
- where only some are run, the last figures of the others are kept, with the commit they are of;
- README changes on request only (`--readme`), and only by runs in full.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import msgspec

from hardware_sim.lab.report import Check, provenance, write_json
from shared import cli, logs
from shared.clock import SystemClock
from shared.errors import RefusedError, UsageError
from tests.benchmarks import readme, report, standing
from tests.benchmarks.report import Last, Taken
from tests.benchmarks.scaling import Curve
from tests.benchmarks.suite import BENCHES, Bench, Printed, joined

ROOT: Final = Path(__file__).parents[2]


@dataclass
class Found:
    """What the benchmarks came to."""

    checks: list[Check] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    told: dict[str, object] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m tests.benchmarks --quick --bench rendering",
)
@click.option("--quick", is_flag=True, help="Short runs: a look, no figure to quote.")
@click.option(
    "--bench",
    "names",
    type=click.Choice([each.name for each in BENCHES]),
    multiple=True,
    help="Only this one, keeping the others' last figures; repeatable.  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/bench"),
    show_default=True,
    help="Where the report goes; those of other commands are read beside it.",
)
@click.option(
    "--readme",
    "writes_readme",
    is_flag=True,
    help="Measure nothing: write README's table and plots from the reports that are there.",
)
@click.option(
    "--recorded",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of recordings, for what a model of them is worth; none are ours to ship.",
)
@cli.json_option
def bench(
    *,
    quick: bool,
    names: tuple[str, ...],
    out: Path,
    writes_readme: bool,
    recorded: Path | None,
    as_json: bool,
) -> int:
    """Measure what the parts cost, as ratios to bare bounds of the same run, and report.

    Exit code 1 where a figure misses its limit.
    """
    if writes_readme:
        return _write_readme(out, as_json=as_json)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror}") from None
    begun_us = SystemClock().monotonic_us()
    found = Found()
    last = report.last(out, is_quick=quick) if names else None
    for each in BENCHES:
        if not names or each.name in names:
            measure(each, found, is_quick=quick, recorded=recorded)
        elif last is not None:
            keep(each, found, last)
    seconds = (SystemClock().monotonic_us() - begun_us) / 1e6
    write(found, out, seconds=seconds, is_quick=quick)
    met = not found.broken and all(check.met for check in found.checks)
    cli.emit(
        {"report": str(out / "report.json"), "met": met, "broken": found.broken},
        as_json=as_json,
        text=f"{seconds:.0f} s; report: {out / 'report.md'}",
    )
    return 0 if met else 1


def measure(each: Bench, found: Found, *, is_quick: bool, recorded: Path | None = None) -> None:
    """Run one benchmark as often as it counts, and tell how it goes."""
    if is_quick and each.quick is None:
        click.echo(f"{each.what}: left out, it cannot be short", err=True)
        found.taken.append(Taken(name=each.name, what=each.what, why="left out"))
        return
    clock = SystemClock()
    runs: list[bytes] = []
    seconds: list[float] = []
    count = 1 if is_quick else each.runs
    for number in range(count):
        again = f", run {number + 1} of {count}" if count > 1 else ""
        click.echo(f"{each.what}{again} ...", err=True)
        begun_us = clock.monotonic_us()
        runs += _printed(each.words(is_quick=is_quick, recorded=recorded))
        seconds.append(round((clock.monotonic_us() - begun_us) / 1e6, 1))
    commit = str(provenance()["commit"])
    taken = Taken(name=each.name, what=each.what, seconds=tuple(seconds), commit=commit)
    try:
        made = joined([msgspec.json.decode(body, type=Printed) for body in runs], count)
    except RefusedError as error:
        click.echo(f"  broke: {error}", err=True)
        found.broken.append(each.name)
        found.taken.append(msgspec.structs.replace(taken, why=f"broke: {error}"))
        return
    found.taken.append(taken)
    found.told[each.name] = [msgspec.json.decode(body) for body in runs]
    found.checks += made.checks
    found.curves += made.curves
    for check in made.checks:
        click.echo(f"  {_line(check)}", err=True)
    click.echo(f"  {sum(seconds):.0f} s", err=True)


def keep(each: Bench, found: Found, last: Last) -> None:
    """Take the figures of a benchmark from the last report, where it has them."""
    taken = next((one for one in last.taken if one.name == each.name), None)
    bodies = last.benchmarks.get(each.name, ())
    if taken is None or not bodies:
        return
    made = joined([msgspec.json.decode(body, type=Printed) for body in bodies], len(bodies))
    found.taken.append(taken)
    found.told[each.name] = bodies
    found.checks += made.checks
    found.curves += made.curves


def _printed(words: Sequence[str]) -> list[bytes]:
    """Return what the benchmark printed, nothing where that is not its figures."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        msgspec.json.decode(done.stdout, type=Printed)
    except msgspec.MsgspecError:
        click.echo(f"  exit code {done.returncode}, and no figures", err=True)
        return []
    return [done.stdout]


def _line(check: Check) -> str:
    sign = "<=" if check.better == "lower" else ">="
    word = "met    " if check.met else "NOT MET"
    return f"{word} {check.name}: {check.value:.4g} {check.unit} ({sign} {check.limit:g})"


def write(found: Found, out: Path, *, seconds: float, is_quick: bool) -> None:
    """Write report.json, report.md and the plots into `out`."""
    body: dict[str, object] = {
        "is_quick": is_quick,
        "broken": found.broken,
        "taken": found.taken,
        "curves": [each.as_dict() for each in found.curves],
        "benchmarks": found.told,
    }
    write_json(out / "report.json", body, found.checks, seconds)
    reports = report.read(out)
    rows = standing.stand(reports)
    mine = reports["bench"]
    figures = mine.checks if mine else ()
    report.plot_limits([(each.name, each.share) for each in figures], out / report.LIMITS)
    if found.curves:
        report.plot_growth(found.curves, out / report.GROWTH)
    text = report.markdown(
        rows, figures, found.taken, reports, is_quick=is_quick, has_curves=bool(found.curves)
    )
    (out / "report.md").write_text(text, encoding="utf-8")


class _Curves(msgspec.Struct):
    curves: list[Curve] = []


def _write_readme(out: Path, *, as_json: bool) -> int:
    """Write README's table and plots from the reports that are there.

    Raises:
        UsageError: the benchmarks were not run in full, or README has lost its markers.
    """
    reports = report.read(out)
    mine = reports["bench"]
    if mine is None or mine.is_quick:
        raise UsageError("README wants a run in full: run `make bench` without QUICK first")
    rows = [each for each in standing.stand(reports) if each.in_readme]
    path = ROOT / "README.md"
    text = readme.rewritten(path.read_text(encoding="utf-8"), rows, report.sources(reports))
    path.write_text(text, encoding="utf-8")
    report.plot_limits(readme.shares(text), ROOT / readme.LIMITS_PNG)
    kept = msgspec.json.decode((out / "report.json").read_bytes(), type=_Curves)
    if kept.curves:
        report.plot_growth(kept.curves, ROOT / readme.GROWTH_PNG)
    cli.emit({"readme": str(path)}, as_json=as_json, text=f"written: {path}")
    return 0


if __name__ == "__main__":
    logs.configure("warning")
    sys.exit(cli.run(sys.argv[1:], bench, "python -m tests.benchmarks"))
