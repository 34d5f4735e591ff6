"""What the car adds to a bare resize and `invoke` of the same model file, in the same run.

    python -m tests.benchmarks.bench_estimate

Both sides take turns, so that whatever else the machine does falls on both; the figure is the ratio
of their medians. The bare side sets no input and reads no output; the car's is everything from a
frame to an estimate with its uncertainty. Prints one JSON object; exits with 1 above 1.25.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import click
import cv2
import msgspec
import numpy as np

from device.drive.senses import Senses
from device.drivers.tflite import TfliteModel
from device.hardware import Frame
from device.wheel_control import Chassis, WheelControl
from hardware_sim.lab.report import Check
from shared.clock import SystemClock
from shared.picture import Pixels
from shared.task import WALL_DISTANCE
from tests.benchmarks.models import make

LIMIT = 1.25
_ROUNDS = 3000
_WARM_UP = 200


class _Camera:
    """A camera that always has the next frame, as a Pi's captures them: 200x150."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self._number = 0

    def newest(self) -> Frame:
        self._number += 1
        return Frame(pixels=self._pixels, exposed_us=self._number, camera="rear")

    def close(self) -> None:
        """Nothing to release."""


def measure(rounds: int = _ROUNDS) -> tuple[Check, dict[str, float]]:
    """Return the check, and the medians in microseconds."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (manifest,) = make(folder, 1)
        path = folder / f"{manifest.sha256}.tflite"
        model, bare = TfliteModel(path, manifest), _interpreter(path)
    pixels = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    size = (WALL_DISTANCE.picture_width, WALL_DISTANCE.picture_height)
    senses = Senses(clock, _Camera(pixels), None, WheelControl(Chassis()), WALL_DISTANCE)
    took: dict[str, list[int]] = {"bare": [], "car": []}
    for _ in range(_WARM_UP + rounds):
        begun_us = clock.monotonic_us()
        cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        bare.invoke()
        between_us = clock.monotonic_us()
        view = senses.look(model, 0)
        took["car"].append(clock.monotonic_us() - between_us)
        took["bare"].append(between_us - begun_us)
        if view is None or view.estimate is None:
            raise RuntimeError("the car made no estimate")
    medians = {side: float(median(times[_WARM_UP:])) for side, times in took.items()}
    return Check(
        name="frame to estimate, over bare resize and invoke",
        value=round(medians["car"] / medians["bare"], 3),
        unit="times",
        limit=LIMIT,
        better="lower",
    ), {f"{side}_us": value for side, value in medians.items()}


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


@click.command()
@click.option("--rounds", default=_ROUNDS, show_default=True, help="How often each side is timed.")
def main(rounds: int) -> None:
    """Measure and print; exit with 1 above the limit."""
    check, medians = measure(rounds)
    body = {"checks": [check.as_dict()], "medians": medians}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if check.met else 1)


if __name__ == "__main__":
    main()
