"""What a trained model is worth: beside the simulator's truth, and on recordings of another kind.

    python -m tests.benchmarks.bench_worth [--recorded DIR]

- *beige*: four simulated cars drive there until there are 528 pairs with the range sensor's noise;
  a model is trained as shipped and judged in LiteRT int8: against the truth, which only the
  simulator knows, and against the sensor on forty manoeuvres of a car that it never saw; its sigma
  on the manoeuvres that its own run held out;
- *recorded* (where a folder is given: recordings are not ours to ship): 0 to 4 m from grey
  pictures of a drone's flights. Six splits by flight; each judged on flights that were held out,
  beside kernel ridge regression on 20 x 15 pixels in the same run on the same split.

Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import csv
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from device.drive.loop import run as drive_loop
from device.home import Home as CarHome
from device.journal import Journal
from device.settings import DeviceSettings
from hardware_sim.backend import SimConfiguration, open_car
from hardware_sim.lab.parking import UNEQUAL, Tester
from hardware_sim.lab.report import Check
from shared.clock import SystemClock
from shared.task import WALL_DISTANCE, Task
from trainer import offline, runtime
from trainer.data import recorded
from trainer.data.dataset import assemble
from trainer.settings import Limits, TrainingSettings

TRUTH_LIMIT_MM = 3.0
COVERAGE_LIMIT = 0.05

_PAIRS = 528
_CARS = (21, 22, 23, 24)
_MANOEUVRES = 6
_FRESH_CAR = 6
_FRESH_MANOEUVRES = 40
_NEAREST_MM = 25.0
"""Nearer to the wall than they shall park: a model must know what too near looks like."""

RANGER = Task(
    name="ranger",
    label="range",
    unit="mm",
    low=0.0,
    high=4000.0,
    picture_width=40,
    picture_height=30,
)
FEW_FLIGHTS = TrainingSettings(
    steps=1500,
    most_steps=1500,
    batch=32,
    learning_rate=1e-3,
    weight_decay=1e-3,
    warm_up=0.9,
    dropout=0.5,
    widths=(16, 32, 64),
    keep="last",
    validation_share=0.15,
    test_share=0.2,
)
"""Few flights, unlike each other: a small network that forgets, and none of them to choose by."""

_SPLITS = (1, 2, 3, 4, 5, 6)


def record(folder: Path, *, scene: str, seed: int, manoeuvres: int) -> None:
    """Have a simulated car drive; leave its pairs in `folder`, with the truth beside the label."""
    (folder / "images").mkdir(parents=True)
    home = CarHome(folder / "car")
    car = open_car(SimConfiguration(scene=scene, seed=seed, speed=0.0), SystemClock())
    truth: dict[int, float] = {}
    car.camera.observers.append(lambda us: truth.__setitem__(us, car.world.true_mm_at(us)))
    try:
        car.world.unbalance(UNEQUAL)
        tester = Tester(car, manoeuvres)
        settings = DeviceSettings(target_mm=_NEAREST_MM)
        drive_loop(home, car.instruments, settings, stop=lambda: tester.has_finished)
    finally:
        car.close()
    journal = Journal.open(home.journal)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "distance_mm", "manoeuvre", "device", "truth_mm"])
        for sample, jpeg in journal.pairs_after(("", -1), 100_000):
            true_mm = truth.get(sample.monotonic_us)
            if jpeg is None or sample.label is None or true_mm is None:
                continue
            name = f"{sample.sequence:06d}.jpg"
            (folder / "images" / name).write_bytes(jpeg)
            manoeuvre = f"{sample.manoeuvre:06d}"
            rows.writerow([name, sample.label, manoeuvre, f"car-{seed}", true_mm])
    journal.close()


def beige(place: Path) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks of the model of beige, and what else it was found to be."""
    from trainer.judging import evaluate

    folders = tuple(place / f"car-{seed}" / "beige" for seed in _CARS)
    for seed, folder in zip(_CARS, folders, strict=True):
        record(folder, scene="beige", seed=seed, manoeuvres=_MANOEUVRES)
    fresh = place / "fresh"
    record(fresh, scene="beige", seed=_FRESH_CAR, manoeuvres=_FRESH_MANOEUVRES)
    wanted = offline.Wanted(
        folders=folders,
        task=WALL_DISTANCE,
        deployment="beige",
        settings=TrainingSettings(most_pairs=_PAIRS),
    )
    trained = offline.train(
        wanted, offline.collect(wanted), place / "beige", tell=lambda _progress: None
    )
    judged = trained.judgement.converted
    seen = assemble(recorded.read(fresh, WALL_DISTANCE), WALL_DISTANCE)
    truth_mm = _truth(fresh)
    answers = evaluate.run(trained.model, seen.part(np.arange(len(seen))), clock=SystemClock())
    said_mm = answers.values * WALL_DISTANCE.span
    sensor_mm = seen.labels * WALL_DISTANCE.span
    of_sensor = float(np.mean(np.abs(sensor_mm - truth_mm)))
    against_truth = float(np.mean(np.abs(said_mm - truth_mm)))
    against_sensor = float(np.mean(np.abs(said_mm - sensor_mm)))
    sigmas_mm = np.exp(answers.log_sigmas) * WALL_DISTANCE.span
    checks = [
        _check("error on beige, against the truth", against_truth, TRUTH_LIMIT_MM, "mm"),
        _check(
            "error on beige, against the range sensor",
            against_sensor,
            math.hypot(of_sensor, TRUTH_LIMIT_MM),
            "mm",
        ),
        _check("one sigma off its 68 %", abs(judged.within_1_sigma - 0.6827), COVERAGE_LIMIT, ""),
        _check("two sigma off their 95 %", abs(judged.within_2_sigma - 0.9545), COVERAGE_LIMIT, ""),
    ]
    return checks, {
        "pairs": _PAIRS,
        "sensor_mm": of_sensor,
        "refusal": trained.refusal,
        "held_out": msgspec.to_builtins(judged),
        "fresh_pictures": len(seen),
        "fresh_within_1_sigma": float(np.mean(np.abs(said_mm - sensor_mm) <= sigmas_mm)),
        "fresh_within_2_sigma": float(np.mean(np.abs(said_mm - sensor_mm) <= 2 * sigmas_mm)),
    }


def recordings(data: Path, place: Path) -> tuple[list[Check], dict[str, Any]]:
    """Return how models of `data` compare with the baseline, split by split."""
    ours, theirs, pictures = [], [], []
    for seed in _SPLITS:
        wanted = offline.Wanted(
            folders=(data,),
            task=RANGER,
            deployment="recorded",
            settings=msgspec.structs.replace(FEW_FLIGHTS, seed=seed),
            limits=Limits(standard_errors=100.0, unsaid_share=1.0),
        )
        trained = offline.train(
            wanted, offline.collect(wanted), place / f"ranger-{seed}", tell=lambda _progress: None
        )
        ours.append(trained.judgement.converted.mae)
        theirs.append(trained.judgement.baseline_mae)
        pictures.append(trained.judgement.converted.pictures)
    ratio = float(np.average(ours, weights=pictures) / np.average(theirs, weights=pictures))
    checks = [
        _check("error on held-out flights beside kernel ridge regression", ratio, 1.0, ""),
        _check(
            "splits in which kernel ridge regression is better",
            sum(a > b for a, b in zip(ours, theirs, strict=True)),
            len(_SPLITS) // 2,
            "",
        ),
    ]
    return checks, {"ours_mm": ours, "baseline_mm": theirs, "pictures": pictures}


def _truth(folder: Path) -> Any:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if _counts(float(row["distance_mm"]))]
    return np.asarray([float(row["truth_mm"]) for row in rows])


def _counts(label_mm: float) -> bool:
    return WALL_DISTANCE.low <= label_mm <= WALL_DISTANCE.high


def _check(name: str, value: float, limit: float, unit: str) -> Check:
    return Check(name=name, value=round(value, 3), unit=unit, limit=round(limit, 3), better="lower")


@click.command()
@click.option("--recorded", type=click.Path(file_okay=False, path_type=Path), help="A folder.")
def bench(recorded: Path | None) -> None:
    """Train, and judge beside the truth; where recordings are given, beside the baseline."""
    runtime.prepare(2)
    with tempfile.TemporaryDirectory(prefix="parkfleet-bench-") as name:
        checks, told = beige(Path(name))
        body: dict[str, Any] = {"beige": told}
        if recorded is not None:
            more, body["recorded"] = recordings(recorded, Path(name))
            checks += more
    sys.stdout.write(msgspec.json.encode({"checks": checks, **body}).decode() + "\n")
    sys.exit(0 if all(check.met for check in checks) else 1)


if __name__ == "__main__":
    bench()
