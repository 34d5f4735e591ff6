"""What each of a car's two runtimes costs: time, memory and disk, for the same model file.

    python -m tests.benchmarks.runtimes

Each runtime is measured in a process of its own environment (`.venv` with LiteRT, `.venv32` with
tflite-runtime: `make venv32`), taking turns; of each figure the best turn counts, as other work on
the machine only ever adds. Prints one JSON object.
"""

import os
import resource
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median

import click
import msgspec
import numpy as np

from shared.clock import SystemClock
from shared.manifest import Manifest
from shared.task import WALL_DISTANCE

ROOT = Path(__file__).parents[2]
_MODEL = ROOT / "tests" / "golden" / "models" / "two-floors.tflite"
PYTHONS = {
    "litert": ROOT / ".venv" / "bin" / "python",
    "tflite-runtime": ROOT / ".venv32" / "bin" / "python",
}
_ESTIMATES, _WARM_UP, _TURNS = 2000, 100, 3


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime, in its own environment.

    `estimate_us` is the median from a captured frame (200x150) to value and sigma; `load_ms` from
    the file to a model that answered once, the imports included; `memory_mb` the process's most.
    """

    runtime: str
    version: str
    numpy: str
    estimate_us: float
    load_ms: float
    memory_mb: float
    disk_mb: float


def here() -> Cost:
    """Return what the runtime of this environment costs."""
    clock = SystemClock()
    begun_us = clock.monotonic_us()
    from device.drivers.tflite import TfliteModel
    from shared.picture import prepare

    manifest = Manifest.from_json(_MODEL.with_suffix(".json").read_bytes())
    model = TfliteModel(_MODEL, manifest)
    frame = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    model.estimate(prepare(frame, WALL_DISTANCE))
    load_us = clock.monotonic_us() - begun_us
    took_us = []
    for _ in range(_WARM_UP + _ESTIMATES):
        started_us = clock.monotonic_us()
        model.estimate(prepare(frame, WALL_DISTANCE))
        took_us.append(clock.monotonic_us() - started_us)
    name, version, disk_bytes = _runtime()
    return Cost(
        runtime=name,
        version=version,
        numpy=np.__version__,
        estimate_us=median(took_us[_WARM_UP:]),
        load_ms=load_us / 1000,
        memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        disk_mb=round(disk_bytes / 1e6, 1),
    )


def _runtime() -> tuple[str, str, int]:
    """Return name, version and size of the runtime here; the driver looks in the same order."""
    for name in ("ai-edge-litert", "tflite-runtime"):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        paths = (Path(str(found.locate_file(file))) for file in found.files or ())
        return name, found.version, sum(path.stat().st_size for path in paths if path.is_file())
    raise LookupError("no TFLite runtime is installed")


def measure() -> dict[str, Cost]:
    """Return the best figures of each runtime that is installed."""
    found: dict[str, list[Cost]] = {}
    for _ in range(_TURNS):
        for name, cost in _one_turn():
            found.setdefault(name, []).append(cost)
    return {name: _best(costs) for name, costs in found.items()}


def _best(costs: list[Cost]) -> Cost:
    figures = ("estimate_us", "load_ms", "memory_mb")
    best = {name: min(getattr(cost, name) for cost in costs) for name in figures}
    return msgspec.structs.replace(costs[0], **best)


def _one_turn() -> Iterator[tuple[str, Cost]]:
    for name, python in PYTHONS.items():
        if python.exists():
            done = subprocess.run(
                [str(python), "-m", "tests.benchmarks.runtimes", "--here"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            yield name, msgspec.json.decode(done.stdout, type=Cost)


@click.command()
@click.option("--here", "only_here", is_flag=True, help="Only the runtime of this environment.")
def main(*, only_here: bool) -> None:
    """Measure and print."""
    found = here() if only_here else measure()
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


if __name__ == "__main__":
    main()
