"""Manoeuvres for the drift rules: pictures of the real renderer, a real model's estimates.

Laws:
- pictures are rendered once a setting; what a manoeuvre makes of them (the sensor's noise, its
  faults) is drawn anew each time from a seed;
- what goes to the rules is a car's `Sample`, and nothing that only the simulator knows: the true
  distance ends in the simulated sensor.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from device.drivers.tflite import TfliteModel
from device.parking import Rules, speed_law
from fleet_server.drift.follow import Change, Memory, Track, follow
from fleet_server.drift.reference import Built
from fleet_server.drift.summaries import Summary
from fleet_server.drift.watch import Settings, Watch
from hardware_sim import scene as scenes
from hardware_sim.render import Renderer
from hardware_sim.scene import Scene
from shared import characteristics
from shared.manifest import Manifest
from shared.samples import Characteristics, Estimate, Latency, Sample, SensorStatus

MODELS = Path(__file__).parents[2] / "golden" / "models"
MODEL = "ab" * 32
RATIO = 0.9
_PAIR_US = 250_000
_HELD_US = 800_000
_LATENCY = Latency(frame_age_us=0, preprocess_us=0, inference_us=0)

Reading = tuple[float | None, SensorStatus]
Sensor = Callable[[list[float], np.random.Generator], list[Reading]]
"""What a sensor makes of a manoeuvre's ranges, in mm."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One moment: where the car truly stood, what the model said of the picture, how it looked."""

    distance_mm: float
    estimate_mm: float
    sigma_mm: float
    characteristics: Characteristics


Reel = tuple[Shot, ...]
Pool = tuple[Reel, ...]


def setting(name: str) -> Scene:
    """Return a shipped scene, or the beige room as one of the changed settings."""
    beige = scenes.load("beige")
    change = msgspec.structs.replace
    if name == "focus":
        return change(beige, camera=change(beige.camera, focus_blur_px=1.0))
    if name == "tilt":
        return change(beige, camera=change(beige.camera, tilt_deg=28.5))
    if name == "near":
        return change(beige, approach=change(beige.approach, start_mm=(220.0, 250.0)))
    return scenes.load(name)


def render(name: str, count: int, seed: int) -> Pool:
    """Return `count` manoeuvres in a setting, as the golden model saw them."""
    manifest = Manifest.from_json((MODELS / "two-floors.json").read_bytes())
    model = TfliteModel(MODELS / "two-floors.tflite", manifest)
    scene = setting(name)
    renderer, rng = Renderer(scene, seed), np.random.default_rng((seed, len(name)))
    return tuple(_reel(renderer, scene, model, rng) for _ in range(count))


def _reel(renderer: Renderer, scene: Scene, model: TfliteModel, rng: np.random.Generator) -> Reel:
    approach, held_us, shots = scene.approach, 0, []
    distance_mm = float(rng.uniform(*approach.start_mm))
    angle_deg = float(rng.uniform(*approach.angle_deg))
    lateral_mm = float(rng.uniform(*approach.lateral_mm))
    rules = Rules(target_mm=approach.stop_mm)
    while held_us <= _HELD_US:
        picture = renderer.picture(distance_mm, angle_deg, lateral_mm=lateral_mm)
        estimate_mm, sigma_mm = model.estimate(picture)
        shots.append(
            Shot(
                distance_mm=distance_mm,
                estimate_mm=estimate_mm,
                sigma_mm=sigma_mm,
                characteristics=characteristics.measure(picture),
            )
        )
        distance_mm -= speed_law(distance_mm, rules) * _PAIR_US / 1e6
        distance_mm = max(approach.stop_mm, distance_mm)
        held_us += _PAIR_US if distance_mm <= approach.stop_mm else 0
    return tuple(shots)


def made_up(count: int, seed: int, *, error_mm: float = 4.0, shift: float = 0.0) -> Pool:
    """Return manoeuvres without a renderer: looks that follow the distance, and wander a little.

    `shift` is by how much every characteristic is off, in units of its wandering.
    """
    rng = np.random.default_rng((seed, 77))
    pool = []
    for _ in range(count):
        start_mm = float(rng.uniform(300.0, 350.0))
        wander = rng.normal(0.0, 1.0, 9) + shift
        bias_mm = float(rng.normal(0.0, error_mm / 2.0))
        shots = []
        for distance_mm in np.linspace(start_mm, 40.0, 22):
            look = 100.0 + 0.1 * distance_mm + wander + rng.normal(0.0, 0.3, 9)
            shots.append(
                Shot(
                    distance_mm=float(distance_mm),
                    estimate_mm=float(distance_mm + bias_mm + rng.normal(0.0, error_mm)),
                    sigma_mm=error_mm,
                    characteristics=_look(look.tolist()),
                )
            )
        pool.append(tuple(shots))
    return tuple(pool)


def _look(values: list[float]) -> Characteristics:
    fields = dict(zip(Characteristics.__struct_fields__, values, strict=True))
    return msgspec.convert(fields | {"keypoints": int(values[-1])}, Characteristics)


def healthy(ranges: list[float], _rng: np.random.Generator) -> list[Reading]:
    """Read as a sensor does."""
    return [(each, "ok") for each in ranges]


def offset(by_mm: float) -> Sensor:
    """Read that much too far."""
    return lambda ranges, _rng: [(each + by_mm, "ok") for each in ranges]


def scaled(by: float) -> Sensor:
    """Read that many times too far."""
    return lambda ranges, _rng: [(each * by, "ok") for each in ranges]


def noisy(sigma_mm: float) -> Sensor:
    """Read with that much noise on top."""
    return lambda ranges, rng: [(each + float(rng.normal(0.0, sigma_mm)), "ok") for each in ranges]


def stuck(ranges: list[float], rng: np.random.Generator) -> list[Reading]:
    """Read the same from an early moment on."""
    at = int(rng.integers(2, 8))
    return [(ranges[min(place, at)], "ok") for place in range(len(ranges))]


def dropping(share: float) -> Sensor:
    """Find no target so often."""
    return lambda ranges, rng: [
        (None, "out_of_range") if rng.random() < share else (each, "ok") for each in ranges
    ]


def absent(ranges: list[float], _rng: np.random.Generator) -> list[Reading]:
    """Be no sensor at all."""
    return [(None, "absent") for _ in ranges]


def samples(
    reel: Reel,
    rng: np.random.Generator,
    *,
    sensor: Sensor = healthy,
    reach_mm: float = math.inf,
    manoeuvre: int = 0,
) -> list[Sample]:
    """Return what a car logs of `reel`; a model that never saw beyond `reach_mm` says no more."""
    true_mm = np.asarray([shot.distance_mm for shot in reel])
    # The noise of the datasheet's sensor, to whole millimetres (hardware_sim.ranging).
    noise = rng.normal(0.0, np.hypot(1.5, 3.33e-5 * true_mm**2))
    readings = sensor([float(each) for each in np.round(true_mm + noise)], rng)
    made = []
    for number, (shot, (label, status)) in enumerate(zip(reel, readings, strict=True)):
        said_mm = min(shot.estimate_mm, reach_mm + 0.05 * max(0.0, shot.estimate_mm - reach_mm))
        made.append(
            Sample(
                task="wall-distance",
                device="car-1",
                boot="00000001-01020304",
                sequence=manoeuvre * 100 + number,
                monotonic_us=number * _PAIR_US,
                utc_us=number * _PAIR_US,
                clock_synced=True,
                manoeuvre=manoeuvre,
                source="model",
                deployment="garage",
                desired_revision=1,
                camera="rear",
                calibration="none",
                label=label,
                label_unit="mm",
                sensor_status=status,
                skew_us=0,
                estimates=(Estimate(model=MODEL, value=said_mm, sigma=shot.sigma_mm),),
                characteristics=shot.characteristics,
                latency=_LATENCY,
                picture_sha256=None,
            )
        )
    return made


def summary(found: Sequence[Sample]) -> Summary:
    """Return the summary of a manoeuvre's samples."""
    made = Summary(device="car-1", deployment="garage", model=MODEL, low=0.0, span=350.0)
    for each in found:
        made.add(each)
    return made


@dataclass
class Follower:
    """One car, followed: its summaries, its track and what was found out, by manoeuvre."""

    rng: np.random.Generator
    settings: Settings = field(default_factory=Settings)
    promised: float = 2.7
    number: int = 0
    stored: dict[int, Summary] = field(default_factory=dict)
    found: list[tuple[int, Change]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.track = Track(watch=Watch(promised=self.promised))
        self._memory = Memory(recall=self._recall, built=Built())

    def drive(
        self,
        pool: Pool,
        count: int,
        *,
        sensor: Sensor = healthy,
        reach_mm: float = math.inf,
    ) -> None:
        """Drive `count` manoeuvres drawn from `pool`."""
        for _ in range(count):
            reel = pool[int(self.rng.integers(len(pool)))]
            self.take(summary(samples(reel, self.rng, sensor=sensor, reach_mm=reach_mm)))

    def take(self, made: Summary) -> None:
        """Follow one more manoeuvre."""
        self.number += 1
        self.stored[self.number] = made
        changes = follow(
            self.track, self.number, made, self.settings, ratio=RATIO, memory=self._memory
        )
        self.found += [(self.number, change) for change in changes]

    def _recall(self, numbers: Sequence[int]) -> list[Summary]:
        return [self.stored[number] for number in numbers if number in self.stored]


def pools(counts: Mapping[str, int], seed: int) -> dict[str, Pool]:
    """Return so many manoeuvres of each setting."""
    return {name: render(name, count, seed) for name, count in counts.items()}
