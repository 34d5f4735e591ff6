"""The verb `parkfleet sim park`: a thin shell over `hardware_sim.lab.parking.trials`."""

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardware_sim import scene as scenes
from hardware_sim.progress import bar
from hardware_sim.stopping import signals
from shared.cli import emit, json_option
from shared.clock import Clock, SystemClock
from shared.errors import UsageError

if TYPE_CHECKING:
    from hardware_sim.lab.parking import trials
    from hardware_sim.lab.parking.report import Group

_QUICK = 20
_LESSON = 30


@click.command(epilog="Example: parkfleet sim park --known beige,red --manoeuvres 50")
@click.option(
    "--model",
    "model_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=(
        "The model, its manifest.json beside it, as 'parkfleet trainer run' writes them; without "
        "it, one is trained: cars drive in the known scenes by range sensor first."
    ),
)
@click.option(
    "--known",
    default="beige,red",
    show_default=True,
    metavar="LIST",
    help="Scenes that the model was trained in: shipped ones or TOML files.",
)
@click.option(
    "--unknown",
    metavar="LIST",
    help="Scenes that it was not trained in; without it, all other shipped ones.",
)
@click.option(
    "--manoeuvres",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="So many in known scenes, and as many in unknown ones.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/parking"),
    show_default=True,
    help="Where report.json, report.md and the plot go.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=1,
    show_default=True,
    help="Draws cars, noise and where they are put.",
)
@click.option("--quick", is_flag=True, help=f"At most {_QUICK} manoeuvres of each kind.")
@json_option
def park(
    *,
    model_file: Path | None,
    known: str,
    unknown: str | None,
    manoeuvres: int,
    out: Path,
    seed: int,
    quick: bool,
    as_json: bool,
) -> int:
    """Park by camera many times, and report where cars stood, how they turned, what they touched.

    Each kind of scene is driven twice: with a range sensor that guards, and without one, guarded
    by the model's own uncertainty alone. Exit code 1 where a figure misses its limit.
    """
    from hardware_sim.lab.parking import report
    from hardware_sim.lab.parking.trials import Model

    if model_file is not None:
        Model.load(model_file)
    known_scenes = _scenes(known, "--known")
    unknown_scenes = (
        [name for name in scenes.shipped() if name not in known_scenes]
        if unknown is None
        else _scenes(unknown, "--unknown")
    )
    both = sorted(set(known_scenes) & set(unknown_scenes))
    if both:
        raise UsageError(f"{', '.join(both)}: either --known or --unknown, not both")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror}") from None
    clock = SystemClock()
    begun_us = clock.monotonic_us()
    # What each car says of every manoeuvre is in the report.
    logging.getLogger("device").setLevel(logging.ERROR)
    model = Model.load(model_file or _taught(known_scenes, out / "lesson", seed=seed, clock=clock))
    groups = _groups(
        model=model,
        kinds=[(True, known_scenes), (False, unknown_scenes)],
        manoeuvres=min(manoeuvres, _QUICK) if quick else manoeuvres,
        seed=seed,
    )
    seconds = (clock.monotonic_us() - begun_us) / 1e6
    checks = report.write(groups, model.manifest.sha256, out, seconds)
    met = all(check.met for check in checks)
    emit(
        {"report": str(out / "report.json"), "checks": [each.as_dict() for each in checks]},
        as_json=as_json,
        text="\n".join(
            [
                *(
                    f"{'met    ' if each.met else 'NOT MET'} {each.name}: {each.value:.3g} "
                    f"{each.unit} (limit {each.limit:g})"
                    for each in checks
                ),
                f"report: {out / 'report.md'}",
            ]
        ),
    )
    return 0 if met else 1


def _taught(known: list[str], folder: Path, *, seed: int, clock: Clock) -> Path:
    """Return the file of a model that knows the scenes `known`, made in `folder` if need be."""
    from hardware_sim.lab.parking.lesson import Lesson, model_file
    from hardware_sim.lab.processes import Processes

    lesson = Lesson(scenes=tuple(known), manoeuvres=_LESSON, seed=seed)
    if lesson.is_given(folder):
        return model_file(folder)
    with signals() as seen, bar("driving by sensor, to learn", _LESSON * len(known)) as tell:
        pairs = lesson.record(folder, real=clock, stop=lambda: bool(seen), tell=tell)
    _end_if(seen)
    click.echo(f"training on {pairs} pictures: a minute or two", err=True)
    with Processes(folder / "logs", clock, dict(os.environ)) as processes:
        return lesson.learn(folder, processes)


def _end_if(seen: set[int]) -> None:
    """End the command where a signal came."""
    if signal.SIGINT in seen:
        raise KeyboardInterrupt
    if seen:
        raise SystemExit(0)


def _groups(
    *, model: "trials.Model", kinds: Sequence[tuple[bool, list[str]]], manoeuvres: int, seed: int
) -> "list[Group]":
    from hardware_sim.lab.parking.report import Group
    from hardware_sim.lab.parking.trials import park as park_many

    groups: list[Group] = []
    with signals() as seen:
        for has_range_sensor in (True, False):
            for is_known, names in kinds:
                name = _name(is_known=is_known, has_range_sensor=has_range_sensor)
                with bar(name, manoeuvres) as tell:
                    parked = park_many(
                        model,
                        names,
                        manoeuvres,
                        seed=seed,
                        has_range_sensor=has_range_sensor,
                        real=SystemClock(),
                        stop=lambda: bool(seen),
                        tell=tell,
                    )
                loaded = [scenes.load(each) for each in names]
                groups.append(
                    Group(
                        name=name,
                        is_known=is_known,
                        has_range_sensor=has_range_sensor,
                        target_mm={each.name: each.approach.stop_mm for each in loaded},
                        parked=parked,
                    )
                )
    _end_if(seen)
    return groups


def _name(*, is_known: bool, has_range_sensor: bool) -> str:
    known, sensor = "known" if is_known else "unknown", "with" if has_range_sensor else "without"
    return f"{known} scenes, {sensor} a range sensor"


def _scenes(text: str, option: str) -> list[str]:
    names = [word.strip() for word in text.split(",") if word.strip()]
    if not names:
        raise UsageError(f"{option} names no scene")
    for name in names:
        scenes.load(name)
    return names
