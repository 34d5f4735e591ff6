"""The verb `parkfleet sim fleet`: a thin shell over `hardware_sim.fleet_sim.fleets`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardware_sim.progress import bar
from hardware_sim.stopping import signals
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.ids import is_name

if TYPE_CHECKING:
    from hardware_sim.fleet_sim.fleets import Report

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_ABOVE_ZERO = click.FloatRange(0.0, 100_000.0, min_open=True)


@click.command(epilog="Example: parkfleet sim fleet --cars 1000 --minutes 10")
@click.option(
    "--cars", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="How many."
)
@click.option(
    "--minutes",
    type=_ABOVE_ZERO,
    default=10.0,
    show_default=True,
    help="How long they drive, in minutes of virtual time.",
)
@click.option(
    "--every-minutes",
    type=_ABOVE_ZERO,
    default=10.0,
    show_default=True,
    help="Each car drives one manoeuvre in so many minutes.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Draws when cars drive, what they see, and which messages get lost.",
)
@click.option(
    "--loss",
    type=click.FloatRange(0.0, 0.9),
    help="The share of messages that get lost, in memory only.  [default: 0]",
)
@click.option(
    "--model",
    type=_FILE,
    help="A model with its manifest.json beside it, rolled out half-way, in memory only.",
)
@click.option("--server", "url", help="Address of a fleet server; without it, one in memory.")
@click.option("--token-file", type=_FILE, help="File with an operator's token for that server.")
@click.option(
    "--deployment",
    default="simulated",
    show_default=True,
    help="The deployment in which the cars enrol at that server.",
)
@click.option(
    "--state",
    type=_FOLDER,
    default=Path("var/fleet"),
    show_default=True,
    help="Where cars of that server keep their homes.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 1000.0),
    default=10.0,
    show_default=True,
    help="Virtual seconds in a real one, at that server; in memory as many as can be computed.",
)
@json_option
def fleet(
    *,
    cars: int,
    minutes: float,
    every_minutes: float,
    seed: int,
    loss: float | None,
    model: Path | None,
    url: str | None,
    token_file: Path | None,
    deployment: str,
    state: Path,
    speed: float,
    as_json: bool,
) -> int:
    """Run a fleet in one process: real sync and update rules, pre-rendered manoeuvres, no physics.

    Each car wakes, logs a manoeuvre into a journal of its own, syncs and sleeps. Exit code 1 where
    a pair was lost or stored twice.
    """
    if (url is None) != (token_file is None):
        raise UsageError("--server and --token-file belong together")
    if url is not None and (loss is not None or model is not None):
        raise UsageError("--loss and --model are for a fleet in memory: leave them, or --server")
    if not is_name(deployment):
        raise UsageError(f"{deployment!r} cannot name a deployment")
    from hardware_sim.fleet_sim.fleets import Plan, Watch

    # What a thousand cars say of themselves at every step is for nobody to read.
    logging.getLogger("device").setLevel(logging.WARNING)
    plan = Plan(
        cars=cars,
        every_s=every_minutes * 60,
        for_s=minutes * 60,
        seed=seed,
        loss=loss or 0.0,
    )
    length = round(cars * max(1.0, minutes / every_minutes))
    with signals() as seen, bar("manoeuvres", length) as tell:
        watch = Watch(stop=lambda: bool(seen), tell=tell)
        if url is None or token_file is None:
            from hardware_sim.fleet_sim.memory import in_memory

            report = in_memory(plan, real=SystemClock(), model=model, watch=watch)
        else:
            from hardware_sim.fleet_sim.remote import at_server

            report = at_server(
                plan,
                url=url,
                token=_token(token_file),
                deployment=deployment,
                folder=state,
                speed=speed,
                real=SystemClock(),
                watch=watch,
            )
    emit(report, as_json=as_json, text=_text(report))
    return 1 if report.outcome.lost or report.outcome.doubled else 0


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"cannot read the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} holds no token") from None


def _text(report: "Report") -> str:
    done = report.outcome
    rows = [
        ("cars", f"{done.cars}, awake {done.trips} times"),
        ("time", f"{done.virtual_s:.0f} s in {done.real_s:.1f} s, {done.rate:.1f} times real time"),
        ("manoeuvres", f"{done.manoeuvres}"),
        ("pairs", f"{done.pairs} logged, {done.stored} stored, {done.waiting} waiting"),
        ("lost", f"{done.lost}"),
        ("doubled", f"{done.doubled}"),
        ("on the way", f"{done.messages_lost} messages lost"),
    ]
    rows += [(name.replace("_", " "), str(count)) for name, count in report.server.items()]
    return "\n".join(f"{name:<20} {value}" for name, value in rows)
