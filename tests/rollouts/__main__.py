"""`python -m tests.rollouts`: takes a model through a fleet by each strategy and draws it.

Exit code 1 where a fleet did not end with every car on the new, better model.
"""

import logging
import sys
from pathlib import Path
from typing import get_args

import click
import msgspec

from fleet_server.rollout.stages import Strategy
from hardware_sim.lab.report import Check
from shared import cli
from tests.rollouts import plots, strategies

_ALL: tuple[Strategy, ...] = get_args(Strategy)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m tests.rollouts --strategy bandit --cars 12",
)
@click.option("--strategy", "names", type=click.Choice(_ALL), multiple=True, help="[default: all]")
@click.option("--cars", type=click.IntRange(1, 500), default=12, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/rollouts"),
    show_default=True,
    help="Where the pictures go.",
)
def main(names: tuple[Strategy, ...], cars: int, seed: int, out: Path) -> int:
    """Run the rollouts; print one JSON object with `checks`."""
    # What simulated cars say of themselves at every step is for nobody to read.
    logging.getLogger("device").setLevel(logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    checks: list[Check] = []
    told: list[dict[str, object]] = []
    for name in names or _ALL:
        story = strategies.run(name, cars=cars, seed=seed)
        plots.draw(story, out / f"rollout-{name}.png")
        told.append(strategies.told(story))
        checks.append(
            Check(
                name=f"rollout by {name}: cars on the better model",
                value=float(story.rounds[-1].cars),
                unit="cars",
                limit=float(cars),
                better="higher",
            )
        )
        click.echo(
            f"{name:<7} decided after {story.to_decide * strategies.MANOEUVRES} manoeuvres a car,"
            f" {story.driven_worse:.0%} driven by the old model, {story.seconds:.0f} s:"
            f" {'; '.join(story.decisions)}",
            err=True,
        )
    body = {"checks": [check.as_dict() for check in checks], "stories": told}
    sys.stdout.write(msgspec.json.encode(body).decode() + "\n")
    return 0 if all(check.met for check in checks) else 1


if __name__ == "__main__":
    sys.exit(cli.run(sys.argv[1:], main, "python -m tests.rollouts"))
