"""Pre-rendered manoeuvres: pictures, labels and characteristics that many cars log as their own.

Laws:
- a reel is rendered once; the pairs that cars make of it differ in everything but picture and
  label, so that no two samples are alike;
- distances follow the car's own speed law, from the scene's start to its stop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from device.parking import Rules, speed_law
from hardware_sim.render import Renderer
from hardware_sim.scene import Scene
from shared import characteristics
from shared.ids import sha256_hex
from shared.picture import encode_jpeg
from shared.samples import Characteristics, Estimate, Latency, ManoeuvreEnd, Sample
from shared.task import WALL_DISTANCE

PAIR_US: Final = 250_000
"""Pairs come at 4 Hz, as on the car."""

_HELD_US: Final = 800_000
_LATENCY: Final = Latency(frame_age_us=18_000, preprocess_us=60, inference_us=400)


@dataclass(frozen=True, kw_only=True)
class Still:
    """One moment of a reel; `label` is in millimetres."""

    label: float
    jpeg: bytes
    sha256: str
    characteristics: Characteristics


@dataclass(frozen=True, kw_only=True)
class Reel:
    """One manoeuvre, a still each `PAIR_US`."""

    stills: tuple[Still, ...]

    @property
    def duration_us(self) -> int:
        """How long the manoeuvre takes."""
        return len(self.stills) * PAIR_US


@dataclass(frozen=True, kw_only=True)
class Log:
    """Where the pairs of one manoeuvre belong, and what the models say of each label.

    `answer` returns the estimates, that of the model that drives first; none: by the sensor.
    """

    device: str
    deployment: str
    desired_revision: int
    boot: str
    manoeuvre: int
    first_sequence: int
    started_us: int
    answer: Callable[[float], tuple[Estimate, ...]] = lambda _label: ()


def render(scene: Scene, *, count: int, seed: int) -> tuple[Reel, ...]:
    """Return `count` manoeuvres in `scene`."""
    renderer = Renderer(scene, seed)
    rng = np.random.default_rng((seed, 0x7265656C))
    return tuple(_reel(renderer, scene, rng) for _ in range(count))


def _reel(renderer: Renderer, scene: Scene, rng: np.random.Generator) -> Reel:
    approach = scene.approach
    distance_mm = float(rng.uniform(*approach.start_mm))
    angle_deg = float(rng.uniform(*approach.angle_deg))
    lateral_mm = float(rng.uniform(*approach.lateral_mm))
    rules = Rules(target_mm=approach.stop_mm)
    held_us, stills = 0, []
    while held_us <= _HELD_US:
        picture = renderer.picture(distance_mm, angle_deg, lateral_mm=lateral_mm)
        jpeg = encode_jpeg(picture)
        stills.append(
            Still(
                label=round(distance_mm, 1),
                jpeg=jpeg,
                sha256=sha256_hex(jpeg),
                characteristics=characteristics.measure(picture),
            )
        )
        distance_mm = max(
            approach.stop_mm, distance_mm - speed_law(distance_mm, rules) * PAIR_US / 1e6
        )
        held_us += PAIR_US if distance_mm <= approach.stop_mm else 0
    return Reel(stills=tuple(stills))


def pairs(reel: Reel, log: Log) -> tuple[list[tuple[Sample, bytes | None]], ManoeuvreEnd]:
    """Return what a car that drove `reel` logs: its pairs and the manoeuvre's end."""
    logged: list[tuple[Sample, bytes | None]] = []
    for number, still in enumerate(reel.stills):
        at_us = log.started_us + number * PAIR_US
        estimates = log.answer(still.label)
        sample = Sample(
            task=WALL_DISTANCE.name,
            device=log.device,
            boot=log.boot,
            sequence=log.first_sequence + number,
            monotonic_us=at_us,
            utc_us=at_us,
            clock_synced=False,
            manoeuvre=log.manoeuvre,
            source="model" if estimates else "sensor",
            deployment=log.deployment,
            desired_revision=log.desired_revision,
            camera="rear",
            calibration="none",
            label=still.label,
            label_unit=WALL_DISTANCE.unit,
            sensor_status="ok",
            skew_us=0,
            estimates=estimates,
            characteristics=still.characteristics,
            latency=_LATENCY,
            picture_sha256=still.sha256,
        )
        logged.append((sample, still.jpeg))
    return logged, _end(logged[0][0], logged[-1][0])


def _end(first: Sample, last: Sample) -> ManoeuvreEnd:
    shared = {name: getattr(first, name) for name in _SHARED}
    return ManoeuvreEnd(
        **shared,
        started_utc_us=first.utc_us,
        ended_utc_us=last.utc_us + PAIR_US,
        pairs=last.sequence - first.sequence + 1,
        reason="target",
        stop_label=last.label,
        stop_estimate=last.estimates[0].value if last.estimates else None,
    )


_SHARED: Final = tuple(
    {field.name for field in msgspec.structs.fields(Sample)}
    & {field.name for field in msgspec.structs.fields(ManoeuvreEnd)}
)
"""What a manoeuvre's end repeats of its samples."""
