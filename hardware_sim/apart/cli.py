"""The verbs `parkfleet sim world` and `sim hand`; thin shells."""

import signal
from pathlib import Path
from typing import get_args

import click

from hardware_sim.apart.wire import SOCKET, Button
from hardware_sim.faults import parse as parse_fault
from hardware_sim.stopping import signals
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import UsageError

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog="Example: parkfleet sim world --scene beige --listen var/world.socket")
@click.option("--scene", default="beige", show_default=True, help="A shipped scene or a TOML file.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Draws motors, slip and noise.",
)
@click.option(
    "--listen",
    "path",
    type=_FILE,
    default=SOCKET,
    show_default=True,
    help="The local socket that cars reach the world at.",
)
@click.option(
    "--strict-gpiod",
    is_flag=True,
    help="Free a dead process's pins, as a Pi does with dtparam=strict_gpiod.",
)
@click.option("--script", type=_FILE, help="What a person beside the car does: a TOML file.")
@click.option(
    "--fault",
    "fault_texts",
    multiple=True,
    metavar="NAME@SECONDS[+LENGTH]",
    help="A fault from that second on, as of 'sim car'; repeatable.",
)
def world(
    *,
    scene: str,
    seed: int,
    path: Path,
    strict_gpiod: bool,
    script: Path | None,
    fault_texts: tuple[str, ...],
) -> None:
    """Hold a world with a car in it, at real speed, for a drive in another process.

    Drive it with 'parkfleet device drive --backend sim-world'. Whatever becomes of that process,
    the world goes on, and its pins keep their level, as a Pi's do.
    """
    from hardware_sim.apart.world import serve

    faults = tuple(parse_fault(text) for text in fault_texts)
    with signals() as seen:
        serve(
            path,
            SystemClock(),
            scene=scene,
            seed=seed,
            strict=strict_gpiod,
            faults=faults,
            script=script,
            ready=lambda: click.echo(f"a car stands in {scene}; drives reach it at {path}"),
            stop=lambda: bool(seen),
        )
    if signal.SIGINT in seen:
        raise KeyboardInterrupt


@click.command(epilog="Example: parkfleet sim hand --put 300,5 --press park_by_sensor")
@click.option(
    "--world",
    "path",
    type=_FILE,
    default=SOCKET,
    show_default=True,
    help="The local socket of the world.",
)
@click.option(
    "--put",
    metavar="MM[,DEGREES]",
    help="First put the car down, so far before the wall and at that angle.",
)
@click.option(
    "--press",
    type=click.Choice(get_args(Button)),
    help="Then press that button.",
)
@json_option
def hand(*, path: Path, put: str | None, press: Button | None, as_json: bool) -> None:
    """Do what a person beside the car of 'sim world' can: put it down, press a button, look."""
    from hardware_sim.apart.hand import Hand

    place = _place(put) if put else None
    with Hand(path, SystemClock()) as reaching:
        if place is not None:
            reaching.put(place[0], heading_deg=place[1])
        if press is not None:
            reaching.press(press)
        seen = reaching.look()
    motors = "driven" if seen.is_driven else "off"
    text = (
        f"{seen.distance_mm:.1f} mm to the wall, motors {motors} for "
        f"{(seen.now_us - seen.since_us) / 1e6:.1f} s, touched {seen.contacts} times"
    )
    emit(seen, as_json=as_json, text=text)


def _place(text: str) -> tuple[float, float]:
    """Return distance and angle.

    Raises:
        UsageError: it is none, or nowhere before the wall.
    """
    words = text.split(",")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2:
        raise UsageError(f"--put: {text!r} is no place: write MM or MM,DEGREES")
    distance_mm, angle_deg = numbers[0], numbers[-1] if len(numbers) == 2 else 0.0
    if not (0.0 <= distance_mm <= 10_000.0 and -80.0 <= angle_deg <= 80.0):
        raise UsageError(f"--put: {text!r} lies outside 0 to 10000 mm and -80 to 80 degrees")
    return distance_mm, angle_deg
