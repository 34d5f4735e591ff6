"""`parkfleet evaluate`: a thin shell over `hardware_sim.lab.evaluation`."""

from pathlib import Path

import click

from hardware_sim.lab.evaluation import PHASES, Evaluation, Plan
from hardware_sim.lab.evaluation_report import build
from hardware_sim.lab.fleet import Fleet
from hardware_sim.lab.measure import join, read_truth
from hardware_sim.lab.observe import Observer
from hardware_sim.lab.processes import WaitTimeoutError
from shared import cli
from shared.clock import SystemClock
from shared.errors import ParkfleetError

_QUICK = Plan(learn=10, measure=8, again=3)


@click.command(epilog="Example: parkfleet evaluate --quick --state var/evaluation")
@click.option("--quick", is_flag=True, help="Fewer manoeuvres: a look, no figure to quote.")
@click.option(
    "--until", type=click.IntRange(1, len(PHASES)), default=len(PHASES), show_default=True,
    help="End after this phase.",
)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the cars' worlds.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/evaluation"),
    show_default=True,
    help="Where cars and server keep their state.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/evaluation"),
    show_default=True,
    help="Where the report goes.",
)
@cli.json_option
def evaluate(*, quick: bool, until: int, seed: int, state: Path, out: Path, as_json: bool) -> int:
    """Drive the reference evaluation: five changes, a focus shift, a wrong sensor; and report.

    Exit code 1 where a figure misses its limit.
    """
    out.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    begun_us = clock.monotonic_us()
    base = _QUICK if quick else Plan()
    plan = Plan(learn=base.learn, measure=base.measure, again=base.again, seed=seed)
    phases = PHASES[:until]
    with Fleet(state, clock, settings=plan.server_settings) as fleet:
        evaluation = Evaluation(fleet, plan, clock, lambda text: click.echo(text, err=True))
        try:
            done = evaluation.run(phases)
        except WaitTimeoutError as error:
            raise ParkfleetError(f"{error}; the logs: {state / 'logs'}") from None
        observer = Observer(fleet.server, evaluation.deployment)
        pairs = {
            name: join(observer.samples(name), read_truth(car.truth))
            for name, car in fleet.cars.items()
        }
    seconds = (clock.monotonic_us() - begun_us) / 1e6
    checks = build(done, pairs, out, seconds)
    met = all(check.met for check in checks)
    cli.emit(
        {"report": str(out / "report.json"), "met": met},
        as_json=as_json,
        text=f"report: {out / 'report.md'}",
    )
    return 0 if met else 1
