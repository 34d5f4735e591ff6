"""What a trained model is worth: beside the simulator's truth, and on recordings of another kind.

    python -m tests.benchmarks.bench_worth [--seeds 5] [--recorded DIR [--plot FILE]]

- *beige*: four simulated cars drive there until there are 528 pairs with the range sensor's noise;
  models are trained as shipped, alike but for their seed (which draws the split as well), and
  judged in LiteRT int8: against the truth, which only the simulator knows, and against the sensor
  on forty manoeuvres of four other cars, where the worst seed counts; sigma on the manoeuvres that
  the runs held out, all together;
- *recorded* (where a folder is given: recordings are not ours to ship): 0 to 4 m from grey
  pictures of a drone's flights. Six splits by flight; each judged on flights that were held out,
  beside kernel ridge regression on 20 x 15 pixels in the same run on the same split. `--plot` draws
  what both answered.

Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import csv
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from matplotlib.figure import Figure

from device.drive.loop import run as drive_loop
from device.home import Home as CarHome
from device.journal import Journal
from device.settings import DeviceSettings
from hardware_sim.backend import SimConfiguration, open_car
from hardware_sim.lab.parking.trials import UNEQUAL, Tester
from hardware_sim.lab.report import Check
from shared.clock import SystemClock
from shared.task import WALL_DISTANCE, Task
from trainer import offline, runtime
from trainer.data import recorded
from trainer.data.dataset import Part, assemble
from trainer.learning.calibrate import WITHIN_1_SIGMA, WITHIN_2_SIGMA
from trainer.settings import Limits, TrainingSettings

TRUTH_LIMIT_MM = 3.0
COVERAGE_LIMIT = 0.05

_PAIRS = 528
_CARS = (21, 22, 23, 24)
_MANOEUVRES = 6
_FRESH_CARS = (6, 7, 8, 9)
_FRESH_MANOEUVRES = 10
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Fresh:
    """Pictures of cars that no model here has learnt from, what the sensor said, and the truth."""

    part: Part
    sensor_mm: Any
    truth_mm: Any


def beige(place: Path, seeds: int) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks of the models of beige, and what else they were found to be."""
    folders = tuple(place / f"car-{seed}" / "beige" for seed in _CARS)
    for seed, folder in zip(_CARS, folders, strict=True):
        record(folder, scene="beige", seed=seed, manoeuvres=_MANOEUVRES)
    fresh = _fresh(place)
    models = [_trained(folders, place, fresh, seed) for seed in range(1, seeds + 1)]
    of_sensor = float(np.mean(np.abs(fresh.sensor_mm - fresh.truth_mm)))
    worst = {name: max(each[name] for each in models) for name in ("truth_mm", "sensor_mm")}
    checks = [
        _check("error on beige, against the truth", worst["truth_mm"], TRUTH_LIMIT_MM, "mm"),
        _check(
            "error on beige, against the range sensor",
            worst["sensor_mm"],
            math.hypot(of_sensor, TRUTH_LIMIT_MM),
            "mm",
        ),
        *(
            _check(f"{words} off", abs(_pooled(models, name) - wanted), COVERAGE_LIMIT, "")
            for words, name, wanted in (
                ("one sigma, on held-out manoeuvres,", "within_1_sigma", WITHIN_1_SIGMA),
                ("two sigma, on held-out manoeuvres,", "within_2_sigma", WITHIN_2_SIGMA),
            )
        ),
    ]
    return checks, {"pairs": _PAIRS, "sensor_mm": of_sensor, "models": models}


def _fresh(place: Path) -> Fresh:
    parts, sensor_mm, truth_mm = [], [], []
    for seed in _FRESH_CARS:
        folder = place / f"fresh-{seed}"
        record(folder, scene="beige", seed=seed, manoeuvres=_FRESH_MANOEUVRES)
        seen = assemble(recorded.read(folder, WALL_DISTANCE), WALL_DISTANCE)
        parts.append(seen.pictures)
        sensor_mm.append(seen.labels * WALL_DISTANCE.span)
        truth_mm.append(_truth(folder))
    labels_mm = np.concatenate(sensor_mm)
    labels = (labels_mm / WALL_DISTANCE.span).astype(np.float32)
    part = Part(np.concatenate(parts), labels)
    return Fresh(part=part, sensor_mm=labels_mm, truth_mm=np.concatenate(truth_mm))


def _trained(folders: tuple[Path, ...], place: Path, fresh: Fresh, seed: int) -> dict[str, Any]:
    """Train with `seed` and return how good the model is, in LiteRT int8."""
    from trainer.judging import evaluate

    wanted = offline.Wanted(
        folders=folders,
        task=WALL_DISTANCE,
        deployment="beige",
        settings=TrainingSettings(most_pairs=_PAIRS, seed=seed),
    )
    begun = time.process_time()
    trained = offline.train(
        wanted, offline.collect(wanted), place / f"beige-{seed}", tell=lambda _progress: None
    )
    took_s = time.process_time() - begun
    answers = evaluate.run(trained.model, fresh.part, clock=SystemClock())
    said_mm = answers.values * WALL_DISTANCE.span
    sigmas_mm = np.exp(answers.log_sigmas) * WALL_DISTANCE.span
    off_mm = np.abs(said_mm - fresh.sensor_mm)
    held_out = trained.judgement.converted
    return {
        "seed": seed,
        "truth_mm": float(np.mean(np.abs(said_mm - fresh.truth_mm))),
        "sensor_mm": float(np.mean(off_mm)),
        "held_out_mm": held_out.mae,
        "held_out_pictures": held_out.pictures,
        "within_1_sigma": held_out.within_1_sigma,
        "within_2_sigma": held_out.within_2_sigma,
        "fresh_within_1_sigma": float(np.mean(off_mm <= sigmas_mm)),
        "fresh_within_2_sigma": float(np.mean(off_mm <= 2 * sigmas_mm)),
        "processor_s": took_s,
        "refusal": trained.refusal,
    }


def _pooled(models: list[dict[str, Any]], name: str) -> float:
    """Return the share over all held-out pictures of all `models`."""
    weights = [each["held_out_pictures"] for each in models]
    return float(np.average([each[name] for each in models], weights=weights))


def recordings(data: Path, place: Path, plot: Path | None) -> tuple[list[Check], dict[str, Any]]:
    """Return how models of `data` compare with the baseline, split by split."""
    judged = [_beside(data, place / f"ranger-{seed}", seed) for seed in _SPLITS]
    if plot is not None:
        _draw(judged, plot)
    label, ours, theirs = (np.concatenate(each) for each in zip(*judged, strict=True))
    maes = [
        (float(np.mean(np.abs(said - label))), float(np.mean(np.abs(other - label))))
        for label, said, other in judged
    ]
    ratio = float(np.mean(np.abs(ours - label)) / np.mean(np.abs(theirs - label)))
    checks = [
        _check("error on held-out flights beside kernel ridge regression", ratio, 1.0, ""),
        _check(
            "splits in which kernel ridge regression is better",
            sum(mine > other for mine, other in maes),
            len(_SPLITS) // 2,
            "",
        ),
    ]
    return checks, {
        "ours_mm": [mine for mine, _ in maes],
        "baseline_mm": [other for _, other in maes],
        "pictures": [len(each[0]) for each in judged],
    }


def _beside(data: Path, out: Path, seed: int) -> tuple[Any, Any, Any]:
    """Return, for the flights held out by `seed`, in mm: labels, int8 answers, the baseline's."""
    from trainer.judging import baseline
    from trainer.pipeline import kept

    wanted = offline.Wanted(
        folders=(data,),
        task=RANGER,
        deployment="recorded",
        settings=msgspec.structs.replace(FEW_FLIGHTS, seed=seed),
        limits=Limits(standard_errors=100.0, unsaid_share=1.0),
    )
    collected = offline.collect(wanted)
    trained = offline.train(wanted, collected, out, tell=lambda _progress: None)
    rows, values, _ = kept.read_answers(trained.folder)
    theirs = baseline.answers(collected, kept.read_split(trained.folder))
    return (
        collected.labels[rows] * RANGER.span,
        values * RANGER.span,
        theirs * RANGER.span,
    )


def _draw(judged: list[tuple[Any, Any, Any]], path: Path) -> None:
    """Draw the answers over the labels, all splits together."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    label, ours, theirs = (np.concatenate(each) / 1000 for each in zip(*judged, strict=True))
    for axes, answers, name in zip(
        figure.subplots(1, 2, sharey=True),
        (ours, theirs),
        ("network, int8 in LiteRT", "kernel ridge regression, 20 x 15 pixels"),
        strict=True,
    ):
        axes.plot([0, 4], [0, 4], color="0.6", linewidth=1)
        axes.scatter(label, answers, s=4, alpha=0.35)
        off_mm = 1000 * float(np.mean(np.abs(answers - label)))
        axes.set_title(f"{name}: {off_mm:.0f} mm off", fontsize=9)
        axes.set_xlabel("range sensor, m")
    figure.axes[0].set_ylabel("answer, m")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _truth(folder: Path) -> Any:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if _counts(float(row["distance_mm"]))]
    return np.asarray([float(row["truth_mm"]) for row in rows])


def _counts(label_mm: float) -> bool:
    return WALL_DISTANCE.low <= label_mm <= WALL_DISTANCE.high


def _check(name: str, value: float, limit: float, unit: str) -> Check:
    return Check(name=name, value=round(value, 3), unit=unit, limit=round(limit, 3), better="lower")


@click.command()
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--recorded",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of recordings.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="A PNG to draw.")
def bench(seeds: int, recorded: Path | None, plot: Path | None) -> None:
    """Train, and judge beside the truth; where recordings are given, beside the baseline."""
    runtime.prepare(2)
    with tempfile.TemporaryDirectory(prefix="parkfleet-bench-") as name:
        checks, told = beige(Path(name), seeds)
        body: dict[str, Any] = {"beige": told}
        if recorded is not None:
            more, body["recorded"] = recordings(recorded, Path(name), plot)
            checks += more
    sys.stdout.write(msgspec.json.encode({"checks": checks, **body}).decode() + "\n")
    sys.exit(0 if all(check.met for check in checks) else 1)


if __name__ == "__main__":
    bench()
