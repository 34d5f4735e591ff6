"""How many pictures the renderer makes on one core, scene by scene.

    python -m tests.benchmarks.rendering

The acceptance figure is a ratio: pictures a second of one core's own time (so that other work on
the machine does not count), over the thousand that a simulated fleet needs. Prints one JSON object
and exits with 1 where a scene stays below 1.
"""

import sys
import time
from collections.abc import Sequence

import click
import cv2
import msgspec

from hardware_sim import scene as scenes
from hardware_sim.lab.report import Check
from hardware_sim.render import Pose, Renderer

NEEDED_PER_S = 1_000.0
_ROUNDS, _PICTURES = 5, 100


def measure(names: Sequence[str]) -> list[Check]:
    """Return a check a scene: the best of a few rounds of 100 pictures from 20 to 350 mm."""
    cv2.setNumThreads(1)
    return [
        Check(
            name=f"pictures a second, {name}",
            value=round(_per_second(name) / NEEDED_PER_S, 3),
            unit="thousand on one core",
            limit=1.0,
            better="higher",
        )
        for name in names
    ]


def smeared(name: str, speed_mm_s: float) -> float:
    """Return thousands of pictures a second of a car that drives that fast."""
    return round(_per_second(name, speed_mm_s) / NEEDED_PER_S, 3)


def _per_second(name: str, speed_mm_s: float = 0.0) -> float:
    scene = scenes.load(name)
    renderer = Renderer(scene, 1)
    way_mm = speed_mm_s * scene.camera.exposure_ms / 1000.0
    best_s = float("inf")
    for _ in range(_ROUNDS):
        started_s = time.thread_time()
        for number in range(_PICTURES):
            distance_mm = 20.0 + 330.0 * number / _PICTURES
            until = Pose(distance_mm=distance_mm - way_mm) if way_mm else None
            renderer.picture(distance_mm, lateral_mm=0.0, at_us=number * 33_333, until=until)
        best_s = min(best_s, time.thread_time() - started_s)
    return _PICTURES / best_s


def main() -> int:
    """Measure every shipped scene; return the exit code."""
    checks = measure(scenes.shipped())
    body = {
        "checks": [check.as_dict() for check in checks],
        "thousand_a_second_at_150_mm_s": {name: smeared(name, 150.0) for name in ("beige", "blur")},
    }
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    return 0 if all(check.met for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
