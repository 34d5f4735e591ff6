"""Our model beside networks that everybody knows, in each runtime a car may have.

    python -m tests.benchmarks.bench_yardsticks [--rounds 400]

For ours and MobileNetV2 of width 0.35 and 1.0, each in float and in int8, on the same picture:

- *bare*: a resize and `invoke` of the file, on one thread;
- *car*: everything from a frame to an estimate with its uncertainty, by the car's own driver.

Both take turns in one process of the runtime's own environment (`.venv` with LiteRT, `.venv32` with
tflite-runtime where `make venv32` made it); a figure is a ratio of medians. Weights are of chance:
only time is looked at. Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import cv2
import msgspec
import numpy as np

from device.drivers.tflite import TfliteModel
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.manifest import Manifest
from shared.picture import prepare
from shared.task import WALL_DISTANCE
from tests.benchmarks.runtimes import PYTHONS, ROOT

OVER_BARE: Final = 1.25
OURS_LIMIT: Final = 1.0

_ROUNDS: Final = 400
_WARM_UP: Final = 20
_SMALLEST: Final = "MobileNetV2-0.35-int8"


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """One model in one runtime: medians in microseconds, and the file's size."""

    model: str
    bare_us: float
    car_us: float
    size_bytes: int


def here(folder: Path, rounds: int) -> list[Took]:
    """Return what each model of `folder` takes in the runtime of this environment."""
    return [
        _one(path.with_suffix(".tflite"), Manifest.from_json(path.read_bytes()), rounds)
        for path in sorted(folder.glob("*.json"))
    ]


def _one(path: Path, manifest: Manifest, rounds: int) -> Took:
    clock = SystemClock()
    model, bare = TfliteModel(path, manifest), _interpreter(path)
    frame = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    size = (WALL_DISTANCE.picture_width, WALL_DISTANCE.picture_height)
    took: dict[str, list[int]] = {"bare": [], "car": []}
    for _ in range(_WARM_UP + rounds):
        begun_us = clock.monotonic_us()
        cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        bare.invoke()
        between_us = clock.monotonic_us()
        model.estimate(prepare(frame, WALL_DISTANCE))
        took["car"].append(clock.monotonic_us() - between_us)
        took["bare"].append(between_us - begun_us)
    return Took(
        model=manifest.run_id,
        bare_us=median(took["bare"][_WARM_UP:]),
        car_us=median(took["car"][_WARM_UP:]),
        size_bytes=manifest.size_bytes,
    )


def _interpreter(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        from tflite_runtime.interpreter import Interpreter
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def measure(rounds: int) -> dict[str, list[Took]]:
    """Return what each model takes in each runtime that is installed."""
    from tests.benchmarks.models import yardsticks

    found: dict[str, list[Took]] = {}
    with tempfile.TemporaryDirectory() as name:
        yardsticks(Path(name))
        for runtime, python in PYTHONS.items():
            if python.exists():
                found[runtime] = _in_its_environment(python, name, rounds)
    if not found:
        raise UsageError("neither .venv nor .venv32 is beside this folder: run `make test` once")
    return found


def _in_its_environment(python: Path, folder: str, rounds: int) -> list[Took]:
    words = ["-m", "tests.benchmarks.bench_yardsticks", "--here", folder, "--rounds", str(rounds)]
    done = subprocess.run(
        [str(python), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return msgspec.json.decode(done.stdout, type=list[Took])


@click.command()
@click.option("--rounds", default=_ROUNDS, show_default=True, help="How often each is timed.")
@click.option("--here", "folder", type=click.Path(path_type=Path), hidden=True)
def main(rounds: int, folder: Path | None) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    if folder is not None:
        click.echo(msgspec.json.encode(here(folder, rounds)))
        return
    # Not at the top: a car's own environment holds no laboratory.
    from tests.benchmarks.outcome import at_most, tell

    found = measure(rounds)
    checks = []
    for runtime, models in found.items():
        by_name = {each.model: each for each in models}
        ours, smallest = by_name["ours-int8"], by_name[_SMALLEST]
        checks += [
            at_most(f"{runtime}: our model over {_SMALLEST}, bare", ours.bare_us / smallest.bare_us,
                    OURS_LIMIT),
            *(
                at_most(f"{runtime}: frame to estimate over bare, {each.model}",
                        each.car_us / each.bare_us, OVER_BARE)
                for each in models
            ),
        ]  # fmt: skip
    tell(checks, {"took": found})


if __name__ == "__main__":
    sys.exit(main())
