"""`python -m tests.benchmarks`: runs the benchmarks and writes out/bench/report.json and report.md.

Laws:
- each benchmark is a process of its own, one after the other: none measures another's leavings;
- each prints one JSON object with its `checks`, and whatever else it has to say;
- a benchmark that breaks fails the command, and the others are still run.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.report import Check, checks_table, write_json
from shared import cli, logs
from shared.clock import SystemClock
from shared.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One benchmark: its module's name, what it measures, and what makes it a quick look."""

    name: str
    what: str
    quick: tuple[str, ...] = ()


BENCHES: Final = (
    Bench(name="bench_estimate", what="frame to estimate", quick=("--rounds", "600")),
    Bench(name="bench_loop_jitter", what="control loop", quick=("--seconds", "6", "--runs", "1")),
    Bench(name="bench_codec", what="wire codec", quick=("--rounds", "100")),
    Bench(name="bench_journal", what="journal", quick=("--rounds", "40")),
    Bench(name="rendering", what="renderer"),
    Bench(name="fleet", what="a thousand cars in one process", quick=("--quick",)),
    Bench(name="bench_rollouts", what="a canary with silent and failing cars", quick=("--quick",)),
    Bench(name="bench_console", what="web console", quick=("--rounds", "2", "--seconds", "4")),
    Bench(name="bench_ingest", what="ingest", quick=("--rounds", "1", "--batches", "100")),
    Bench(name="bench_drift", what="drift", quick=("--manoeuvres", "2000", "--repeats", "2")),
    Bench(name="bench_bad_input", what="bad input and floods", quick=("--seconds", "4")),
    Bench(name="bench_training", what="search beside fits", quick=("--pictures", "400")),
    Bench(name="bench_worth", what="a model's worth", quick=("--seeds", "1")),
    Bench(name="motors_off", what="motors of a dead drive", quick=("--times", "3")),
)


class _Printed(msgspec.Struct):
    checks: list[Check]


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
    help="Only this one; repeatable.  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/bench"),
    show_default=True,
    help="Where the report goes.",
)
@cli.json_option
def bench(*, quick: bool, names: tuple[str, ...], out: Path, as_json: bool) -> int:
    """Measure what the parts cost, as ratios to bare bounds of the same run, and report.

    Exit code 1 where a figure misses its limit.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror}") from None
    clock = SystemClock()
    begun_us = clock.monotonic_us()
    chosen = [each for each in BENCHES if not names or each.name in names]
    checks: list[Check] = []
    told: dict[str, object] = {}
    broken: list[str] = []
    for each in chosen:
        click.echo(f"{each.what} ...", err=True)
        printed = _run(each, quick=quick)
        if printed is None:
            broken.append(each.name)
            continue
        told[each.name] = msgspec.json.decode(printed)
        made = msgspec.json.decode(printed, type=_Printed).checks
        checks += made
        for check in made:
            click.echo(f"  {_line(check)}", err=True)
    seconds = (clock.monotonic_us() - begun_us) / 1e6
    write_json(
        out / "report.json",
        {"is_quick": quick, "broken": broken, "benchmarks": told},
        checks,
        seconds,
    )
    plot(checks, out / "limits.png")
    (out / "report.md").write_text(_markdown(checks, broken, seconds, quick=quick))
    met = not broken and all(check.met for check in checks)
    cli.emit(
        {"report": str(out / "report.json"), "met": met, "broken": broken},
        as_json=as_json,
        text=f"report: {out / 'report.md'}",
    )
    return 0 if met else 1


def plot(checks: Sequence[Check], path: Path) -> None:
    """Draw how much of its limit each figure takes: what crosses the line misses it."""
    shares = [_share(check) for check in checks]
    figure = Figure(figsize=(9, 1.0 + 0.32 * len(checks)), layout="constrained")
    axes = figure.subplots()
    colours = ["#0a7d8c" if check.met else "#b3387b" for check in checks]
    axes.barh(range(len(checks)), [min(share, 2.0) for share in shares], color=colours)
    axes.set_yticks(range(len(checks)), [check.name for check in checks], fontsize=8)
    axes.axvline(1.0, color="#333333", linewidth=1)
    axes.set_xlim(0.0, 2.0)
    axes.invert_yaxis()
    axes.set_xlabel("share of its limit (1: just met)", fontsize=8)
    figure.savefig(path, dpi=110)


def _share(check: Check) -> float:
    over, under = (
        (check.value, check.limit) if check.better == "lower" else (check.limit, check.value)
    )
    if under == 0.0:
        return 0.0 if over <= 0.0 else float("inf")
    return max(0.0, over / under)


def _run(each: Bench, *, quick: bool) -> bytes | None:
    """Return what the benchmark printed, or None where it printed no figures."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{each.name}", *(each.quick if quick else ())],
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        msgspec.json.decode(done.stdout, type=_Printed)
    except msgspec.DecodeError:
        click.echo(f"  broke with exit code {done.returncode}", err=True)
        return None
    return done.stdout


def _line(check: Check) -> str:
    sign = "<=" if check.better == "lower" else ">="
    word = "met    " if check.met else "NOT MET"
    return f"{word} {check.name}: {check.value:.4g} {check.unit} ({sign} {check.limit:g})"


def _markdown(
    checks: Sequence[Check], broken: Sequence[str], seconds: float, *, quick: bool
) -> str:
    parts = ["# Benchmarks", f"{'A quick look; ' if quick else ''}{seconds:.0f} s."]
    if broken:
        parts.append(f"Broke, and measured nothing: {', '.join(broken)}.")
    parts += [checks_table(list(checks)), "![How much of its limit each takes](limits.png)"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    logs.configure("warning")
    sys.exit(cli.run(sys.argv[1:], bench, "python -m tests.benchmarks"))
