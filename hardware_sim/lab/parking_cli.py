"""The verb `parkfleet sim park`: a thin shell over `hardware_sim.lab.parking`."""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardware_sim import scene as scenes
from hardware_sim.progress import bar
from hardware_sim.stopping import signals
from shared.cli import emit, json_option
from shared.clock import SystemClock
from shared.errors import UsageError

if TYPE_CHECKING:
    from hardware_sim.lab.parking_report import Group

_QUICK = 20


@click.command(epilog="Example: parkfleet sim park --model out/model/model.tflite --known beige")
@click.option(
    "--model",
    "model_file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The model, its manifest.json beside it, as 'parkfleet trainer run' writes them.",
)
@click.option(
    "--known",
    required=True,
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
    model_file: Path,
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
    from hardware_sim.lab import parking_report
    from hardware_sim.lab.parking import Model

    model = Model.load(model_file)
    known_scenes = _scenes(known, "--known")
    unknown_scenes = (
        [name for name in scenes.shipped() if name not in known_scenes]
        if unknown is None
        else _scenes(unknown, "--unknown")
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {out}: {error.strerror}") from None
    clock = SystemClock()
    begun_us = clock.monotonic_us()
    # What each car says of every manoeuvre is in the report.
    logging.getLogger("device").setLevel(logging.ERROR)
    groups = _groups(
        model_file=model_file,
        kinds=[(True, known_scenes), (False, unknown_scenes)],
        manoeuvres=min(manoeuvres, _QUICK) if quick else manoeuvres,
        seed=seed,
    )
    seconds = (clock.monotonic_us() - begun_us) / 1e6
    checks = parking_report.write(groups, model.manifest.sha256, out, seconds)
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


def _groups(
    *, model_file: Path, kinds: Sequence[tuple[bool, list[str]]], manoeuvres: int, seed: int
) -> "list[Group]":
    from hardware_sim.lab import parking
    from hardware_sim.lab.parking_report import Group

    model = parking.Model.load(model_file)
    groups: list[Group] = []
    with signals() as seen:
        for has_range_sensor in (True, False):
            for is_known, names in kinds:
                name = _name(is_known=is_known, has_range_sensor=has_range_sensor)
                with bar(name, manoeuvres) as tell:
                    parked = parking.park(
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
    if signal.SIGINT in seen:
        raise KeyboardInterrupt
    if seen:
        raise SystemExit(0)
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
