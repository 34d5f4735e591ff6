"""A model through a large fleet by a canary: what the server sends, and who runs what.

    python -m tests.benchmarks.bench_rollouts --cars 1000 --seed 1 --deadline-s 3600

The homes of a thousand cars are written to all the time: point TMPDIR at a disk in memory.
"""

import logging
import sys
from dataclasses import asdict

import click
import msgspec

from shared import cli
from tests.rollouts import canary, gates


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cars", type=click.IntRange(1, 5000), default=100, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True, help="Who is silent or weak.")
@click.option(
    "--deadline-s",
    type=float,
    default=120.0,
    show_default=True,
    help="After which silence of a stage's cars counts as failure: longer than the last stage.",
)
@click.option("--quick", is_flag=True, help="Twenty cars.")
def main(*, cars: int, seed: int, deadline_s: float, quick: bool) -> int:
    """Run the canary; print one JSON object with `checks`."""
    logging.getLogger("device").setLevel(logging.ERROR)
    cars, seed = (20, 1) if quick else (cars, seed)
    told = canary.run(
        cars, seed=seed, deadline_s=deadline_s, say=lambda line: click.echo(line, err=True)
    )
    checks = gates.checks(told)
    body = {"checks": [check.as_dict() for check in checks], "told": asdict(told)}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    return 0 if all(check.met for check in checks) else 1


if __name__ == "__main__":
    sys.exit(cli.run(sys.argv[1:], main, "python -m tests.benchmarks.bench_rollouts"))
