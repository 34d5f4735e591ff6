"""`parkfleet demo`: a thin shell over `hardware_sim.lab.demo.story`."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from hardware_sim.lab import folders
from hardware_sim.lab.demo.report import build
from hardware_sim.lab.demo.story import Demo, Plan, Told
from hardware_sim.lab.demo.view import Scene, View
from hardware_sim.lab.fleet import Fleet, Floor, require_free
from hardware_sim.lab.observe import Observer
from hardware_sim.lab.processes import WaitTimeoutError
from hardware_sim.lab.report import Check
from shared import cli
from shared.clock import Clock, SystemClock
from shared.errors import ParkfleetError

_TITLE = "parkfleet: from no model to a model that mended itself"


@click.command(epilog="Example: parkfleet demo --exit --state var/demo --out out/demo")
@click.option("--exit", "exit_after", is_flag=True, help="End after the report.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/demo"),
    show_default=True,
    help="Where cars and server keep their state; kept for the next run.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Where the report goes.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
    help="The web page's port on this machine; 0 picks a free one.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 10_000_000), default=1, show_default=True,
    help="Seed of the cars' worlds.",
)  # fmt: skip
@click.option(
    "--speed", type=click.FloatRange(1, 50), default=Plan().speed, show_default=True,
    help="How much faster than real time the cars live.",
)  # fmt: skip
@cli.json_option
def demo(
    *, exit_after: bool, state: Path, out: Path, port: int, seed: int, speed: float, as_json: bool
) -> int:
    """Show the whole loop: learn, drift, retrain, update, catch up.

    Starts a broker, the fleet server, a training worker and two simulated cars as processes of
    their own, and writes report.json, report.md and a plot.
    """
    if port:
        require_free(port)
    clock = SystemClock()
    plan = Plan(seed=seed, speed=speed)
    console = Console(stderr=as_json)
    with (
        folders.held(state, out, "demonstration"),
        Fleet(state, clock, http_port=port, settings=plan.server_settings) as fleet,
    ):
        begun_us = clock.monotonic_us()
        try:
            with View(Scene(title=_TITLE), clock, console) as view:
                told = Demo(fleet, view, plan, clock).tell()
        except WaitTimeoutError as error:
            raise ParkfleetError(f"{error}; the logs: {state / 'logs'}") from None
        seconds = (clock.monotonic_us() - begun_us) / 1e6
        checks = build(told, Observer(fleet.server, told.deployment), out, seconds)
        _conclude(console, told, checks, out)
        met = all(check.met for check in checks)
        if as_json:
            cli.emit({"report": str(out / "report.json"), "met": met}, as_json=True, text="")
        if not exit_after:
            _stay(console, fleet, clock)
    return 0 if met else 1


def _conclude(console: Console, told: Told, checks: list[Check], out: Path) -> None:
    table = Table(title="what was measured", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "measured", "limit", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for check in checks:
        sign = "≤" if check.better == "lower" else "≥"
        table.add_row(
            check.name,
            f"{check.value:.3g} {check.unit}".strip(),
            f"{sign} {check.limit:g}",
            "[green]met[/green]" if check.met else "[red]not met[/red]",
        )
    console.print()
    console.print(table)
    console.print(f"\nerror per manoeuvre: {out / 'error.png'}")
    console.print(f"report: {out / 'report.md'}  ({told.deployment})")


def _stay(console: Console, fleet: Fleet, clock: Clock) -> None:
    """Keep everything running, the cars at real speed, until Ctrl-C."""
    for number, car in enumerate(fleet.cars.values()):
        fleet.processes.stop(f"{car.name}-drive")
        car.tell(Floor(scene="red", manoeuvres=1_000_000))
        fleet.start_drive(car, speed=1.0, seed=number)
    console.print(f"\nlive page: [bold]{fleet.url}[/bold]   Ctrl-C ends everything")
    while True:
        fleet.processes.check()
        clock.sleep_until_us(clock.monotonic_us() + 500_000)
