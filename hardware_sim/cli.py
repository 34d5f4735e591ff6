"""The verb `parkfleet sim`: a simulated car, and pictures of scenes; thin shells."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from hardware_sim import scene as scenes
from shared.clock import SystemClock
from shared.errors import UsageError

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(epilog="Example: parkfleet sim render --scene red --out out/red.png")
def sim() -> None:
    """The laboratory: simulated cars, rendered scenes."""


@sim.command(
    epilog="Example: parkfleet sim car --home var/car-1/home --script var/car-1/script.toml"
)
@click.option(
    "--home",
    type=_FOLDER,
    default=Path("var/device"),
    show_default=True,
    help="The car's home folder.",
)
@click.option("--script", type=_FILE, required=True, help="What the person does: a TOML file.")
@click.option(
    "--speed",
    type=click.FloatRange(0.0, 1000.0),
    default=1.0,
    show_default=True,
    help="Virtual seconds in a real one; 0 for as many as the machine can compute.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Draws motors, noise and where the person puts the car.",
)
@click.option(
    "--max-manoeuvres", type=click.IntRange(1), help="End after so many; without it, on Ctrl-C."
)
def car(home: Path, script: Path, speed: float, seed: int, max_manoeuvres: int | None) -> None:
    """Drive a simulated car as a script says.

    The script holds `run` (a number; a new one starts a new order), `scene`, `manoeuvres` and `by`
    ("park" or "park_by_sensor"); it is read again between two manoeuvres. Beside it appear
    progress.json and truth.csv.
    """
    from hardware_sim.backend import SimConfiguration
    from hardware_sim.car import drive

    configuration = SimConfiguration(seed=seed, speed=speed)
    with _signals() as seen:
        drive(
            home,
            script,
            configuration,
            SystemClock(),
            stop=lambda: bool(seen),
            max_manoeuvres=max_manoeuvres,
        )
    if signal.SIGINT in seen:
        raise KeyboardInterrupt


@sim.command(epilog="Example: parkfleet sim render --scene red --distance-mm 50,150 --out red.png")
@click.option(
    "--scene",
    "wanted",
    multiple=True,
    help="A shipped scene or a TOML file; repeatable. Without it: every shipped scene.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="FILE.png for one sheet, otherwise a folder for single pictures.",
)
@click.option(
    "--distance-mm",
    "distances",
    default="20,40,80,150,250,350",
    show_default=True,
    metavar="LIST",
    help="Distances of the bumper to the wall, in mm.",
)
@click.option(
    "--angle-deg",
    "angles",
    default="0",
    show_default=True,
    metavar="LIST",
    help="Angles of the wall to the bumper, in degrees.",
)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Pictures of each place; noise and the place along the wall differ.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Draws noise and where textures lie.",
)
def render(
    *, wanted: tuple[str, ...], out: Path, distances: str, angles: str, count: int, seed: int
) -> None:
    """Render pictures of scenes as a car's camera takes them."""
    from hardware_sim import gallery

    distances_mm = _numbers(distances, "--distance-mm", low=0.0, high=2000.0)
    angles_deg = _numbers(angles, "--angle-deg", low=-60.0, high=60.0)
    chosen = [scenes.load(name) for name in wanted or scenes.shipped()]
    shots = list(gallery.shoot(chosen, distances_mm, angles_deg, count=count, seed=seed))
    if out.suffix.lower() == ".png":
        click.echo(gallery.write_sheet(shots, out, columns=len(distances_mm)))
    else:
        written = gallery.write_each(shots, out)
        click.echo(f"{len(written)} pictures in {out}")


def _numbers(text: str, option: str, *, low: float, high: float) -> list[float]:
    """Return the numbers in a list separated by commas.

    Raises:
        UsageError: one is no number or outside `low`..`high`.
    """
    numbers = []
    for word in text.split(","):
        try:
            number = float(word)
        except ValueError:
            raise UsageError(f"{option}: {word.strip()!r} is not a number") from None
        if not low <= number <= high:
            raise UsageError(f"{option}: {number:g} lies outside {low:g} to {high:g}")
        numbers.append(number)
    return numbers


@contextmanager
def _signals() -> Iterator[set[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them, for as long as the context lasts."""
    seen: set[int] = set()

    def note(number: int, _frame: FrameType | None) -> None:
        seen.add(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield seen
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
