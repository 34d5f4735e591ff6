"""The verb `parkfleet sim`: a simulated car, and pictures of scenes; thin shells."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardware_sim import scene as scenes
from hardware_sim.apart.cli import hand, world
from hardware_sim.faults import FAULT_NAMES
from hardware_sim.faults import parse as parse_fault
from hardware_sim.fleet_sim.cli import fleet
from hardware_sim.lab.parking.cli import park
from hardware_sim.progress import bar
from hardware_sim.stopping import signals
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.ids import is_name

if TYPE_CHECKING:
    from hardware_sim.replaying import Replayed

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_OTHER_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".svg", ".tif", ".tiff", ".webp")


@click.group(epilog="Example: parkfleet sim render --scene red --out out/red.png")
def sim() -> None:
    """The laboratory: simulated cars, rendered scenes."""


sim.add_command(fleet)
sim.add_command(hand)
sim.add_command(park)
sim.add_command(world)


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
    "--rest-speed",
    type=click.FloatRange(0.0, 1000.0),
    default=0.0,
    show_default=True,
    help="The same while the person has nothing to do; 0: as --speed.",
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
@click.option(
    "--fault",
    "fault_texts",
    multiple=True,
    metavar="NAME@SECONDS[+LENGTH]",
    help="A fault from that virtual second on; repeatable. Names: " + ", ".join(FAULT_NAMES) + ".",
)
def car(
    *,
    home: Path,
    script: Path,
    speed: float,
    rest_speed: float,
    seed: int,
    max_manoeuvres: int | None,
    fault_texts: tuple[str, ...],
) -> None:
    """Drive a simulated car as a script says.

    The script holds `run` (a number; a new one starts a new order), `scene`, `manoeuvres` and `by`
    ("park" or "park_by_sensor"); it is read again between two manoeuvres. Beside it appear
    progress.json and truth.csv.
    """
    from hardware_sim.backend import SimConfiguration
    from hardware_sim.car import drive

    faults = tuple(parse_fault(text) for text in fault_texts)
    configuration = SimConfiguration(seed=seed, speed=speed, rest_speed=rest_speed, faults=faults)
    with signals() as seen:
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
    metavar="LIST",
    help="Angles of the wall to the bumper, in degrees [default: the middle of each scene's own].",
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
    *, wanted: tuple[str, ...], out: Path, distances: str, angles: str | None, count: int, seed: int
) -> None:
    """Render pictures of scenes as a car's camera takes them.

    A sheet has a column for each distance; with one distance it has four scenes side by side.
    """
    from hardware_sim import gallery

    if out.suffix.lower() in _OTHER_PICTURES:
        raise UsageError(f"--out {out}: a sheet is a .png; any other name is a folder's")
    distances_mm = _numbers(distances, "--distance-mm", low=0.0, high=2000.0)
    angles_deg = _numbers(angles, "--angle-deg", low=-60.0, high=60.0) if angles else None
    chosen = [scenes.load(name) for name in wanted or scenes.shipped()]
    shots = list(gallery.shoot(chosen, distances_mm, angles_deg, count=count, seed=seed))
    if out.suffix.lower() == ".png":
        click.echo(gallery.write_sheet(shots, out, columns=_columns(distances_mm)))
    else:
        written = gallery.write_each(shots, out)
        click.echo(f"{len(written)} pictures in {out}")


@sim.command(
    epilog="Example: parkfleet sim replay --data recorded/beige --deployment beige "
    "--home var/car-1/home"
)
@click.option("--data", type=_FOLDER, required=True, help="Folder with images/ and labels.csv.")
@click.option("--deployment", required=True, help="The deployment that the pairs belong to.")
@click.option(
    "--home",
    type=_FOLDER,
    default=Path("var/device"),
    show_default=True,
    help="The car's home folder.",
)
@click.option(
    "--task", "task_file", type=_FILE, help="TOML file of the task (default: the car's own)."
)
@click.option(
    "--speed",
    type=click.FloatRange(0.0, 1000.0),
    default=0.0,
    show_default=True,
    help="Recorded seconds in a real one; 0 for as many as the machine can compute.",
)
@json_option
def replay(
    *, data: Path, deployment: str, home: Path, task_file: Path | None, speed: float, as_json: bool
) -> int:
    """Drive recorded pictures and labels through a car, in place of camera and range sensor.

    Each recorded manoeuvre becomes one of the car's, each picture one pair in its journal; send
    them with 'parkfleet device sync-once'. A row that cannot be used is named by its line and
    skipped; exit code 1 where a picture came into no journal.
    """
    from hardware_sim import recorded, replaying

    if not is_name(deployment):
        raise UsageError(f"{deployment!r} cannot name a deployment")
    task = replaying.task_of(home, task_file)
    recording = recorded.read(data, task)
    for row in recording.skipped:
        click.echo(f"{data / 'labels.csv'}:{row.line}: skipped: {row.reason}", err=True)
    with signals() as seen, bar("replaying", recording.pictures) as tell:
        done = replaying.replay(
            home,
            recording,
            task=task,
            deployment=deployment,
            real=SystemClock(),
            speed=speed,
            stop=lambda: bool(seen),
            tell=tell,
        )
    if signal.SIGINT in seen:
        raise KeyboardInterrupt
    emit(done, as_json=as_json, text=_replayed(done))
    return 1 if done.lost else 0


def _replayed(done: "Replayed") -> str:
    return (
        f"{done.pairs} pairs of {len(done.manoeuvres)} manoeuvres logged by {done.device} in boot "
        f"{done.boot}, {len(done.skipped)} rows skipped, {done.lost} pictures lost"
    )


def _columns(distances_mm: Sequence[float]) -> int:
    return len(distances_mm) if len(distances_mm) > 1 else 4


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
