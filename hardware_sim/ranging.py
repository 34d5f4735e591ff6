"""What a time-of-flight sensor with a cone of view sees of a scene: an echo.

Laws:
- straight before a bare wall that fills its view, the sensor reads the distance along its axis;
- everything in the cone takes part by the light that it sends back: a near floor pulls the range
  down, a slanted wall weighs more on its near side;
- noise grows with the distance and with dark targets, and shrinks with the timing budget;
- a target too weak for its distance is not found.

Method: rays fill the cone evenly; each ends at the first thing it meets at distance r and returns
signal = reflectance x cos(incidence) / r^2 (a matt surface under a lit spot). The VL53L0X keeps no
histogram: it averages the way of all photons that come back, so that two things in its view read as
something between them (ST's answers in its community forum). Hence the range is the mean of r,
weighted by signal. The factory calibrates it before a flat target; here the same ratio is divided
out.

Source: ST datasheet DocID029104 (DS11555), VL53L0X. Field of view 25 degrees. Table "Max ranging
capabilities with 33 ms timing budget", indoors: white target (88 %) at least 1200 mm, grey (17 %)
700 mm, hence reach ~ reflectance^(1/3). Table "Ranging accuracy", indoors, 33 ms: standard
deviation 4 % at 1200 mm white, 7 % at 700 mm grey: about 48 mm both times, hence
sigma ~ range^2 / reflectance^(2/3), with 48 / 1200^2 per mm for white. Photons counted over a
longer budget sharpen it by the square root (range profiles: 20 ms high speed, 200 ms accurate).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hardware_sim.scene import Scene
from hardware_sim.scene_tables import Obstacle
from hardware_sim.world import Placement

Doubles = npt.NDArray[np.float64]

WHITE: Final = 0.88
DEFAULT_BUDGET_US: Final = 33_000.0
_RINGS: Final = 5
_CROSSTALK_MM: Final = 100.0
_NOWHERE_MM: Final = 1e6


@dataclass(frozen=True, kw_only=True)
class Echo:
    """What comes back: the mean range, and the reflectance of a flat target that would do alike."""

    range_mm: float
    reflectance: float


class Cone:
    """The rays of one scene's sensor, and what they meet."""

    def __init__(self, scene: Scene) -> None:
        """Spread the rays as the scene's sensor is mounted."""
        self._scene = scene
        sensor = scene.range_sensor
        across, down = _disc(math.radians(sensor.fov_deg) / 2.0)
        tilt = math.radians(sensor.tilt_deg)
        # In the car's frame: x to the right of the view, y up, z to the rear; length 1.
        z = np.cos(across) * np.cos(down + tilt)
        self._x = np.sin(across)
        self._y = -np.cos(across) * np.sin(down + tilt)
        self._z = z
        flat = np.cos(across) * np.cos(down)
        weights = flat**3
        self._flat_range = float(np.sum(weights / flat) / np.sum(weights))
        self._flat_signal = float(np.mean(weights)) * self._flat_range**2

    def echo(self, placement: Placement) -> Echo | None:
        """Return what comes back to the sensor of a car that stands there; None for no light."""
        distances, signals = self._returns(placement)
        total = float(signals.sum())
        if total <= 0.0:
            return None
        mean_mm = float(np.sum(distances * signals)) / total
        reflectance = total / len(signals) * mean_mm**2 / self._flat_signal
        range_mm = mean_mm / self._flat_range
        return self._behind_glass(Echo(range_mm=range_mm, reflectance=reflectance))

    def sigma_mm(self, echo: Echo, budget_us: float) -> float:
        """Return the standard deviation of a range at that timing budget."""
        model = self._scene.range_sensor
        darker = math.pow(WHITE / echo.reflectance, 2.0 / 3.0)
        far = model.noise_far * echo.range_mm * echo.range_mm * darker
        return math.hypot(model.noise_floor_mm, far) * math.sqrt(_shortness(budget_us))

    def reach_mm(self, echo: Echo, budget_us: float) -> float:
        """Return up to what range the sensor finds a target that sends back as much light.

        It ends where the noise would be that of the datasheet's farthest targets.
        """
        brighter = math.pow(echo.reflectance / WHITE, 1.0 / 3.0)
        full_mm = self._scene.range_sensor.max_range_mm * brighter
        return full_mm / math.pow(_shortness(budget_us), 0.25)

    def _behind_glass(self, echo: Echo) -> Echo:
        """Return the echo as the cover glass leaves it: its light comes back from no distance."""
        model = self._scene.range_sensor
        if model.crosstalk == 0.0:
            return echo
        target = echo.reflectance / WHITE * (_CROSSTALK_MM / max(echo.range_mm, 1.0)) ** 2
        share = target / (target + model.crosstalk)
        return Echo(range_mm=echo.range_mm * share, reflectance=echo.reflectance)

    def _returns(self, placement: Placement) -> tuple[Doubles, Doubles]:
        """Return each ray's way to the first thing it meets (mm) and the signal from there."""
        scene, height_mm = self._scene, self._scene.range_sensor.height_mm
        heading = math.radians(placement.heading_deg)
        cos, sin = math.cos(heading), math.sin(heading)
        x = self._x * cos + self._z * sin
        towards = np.maximum(self._z * cos - self._x * sin, 1e-9)
        downwards = np.maximum(-self._y, 1e-9)
        to_wall, to_floor = placement.z_mm / towards, height_mm / downwards
        distances = np.minimum(to_wall, to_floor)
        on_wall = to_wall <= to_floor
        strengths = np.where(
            on_wall, scene.wall.reflectance * towards, scene.floor.reflectance * downwards
        )
        if scene.obstacle is not None:
            ways = (placement.z_mm - scene.obstacle.z_mm) / towards
            hit = _hits(scene.obstacle, placement.x_mm + ways * x, height_mm + ways * self._y)
            hit &= (ways > 0.0) & (ways < distances)
            distances = np.where(hit, ways, distances)
            strengths = np.where(hit, scene.obstacle.reflectance * towards, strengths)
        near = np.maximum(distances, 1.0)
        return near, np.where(distances < _NOWHERE_MM, strengths / near**2, 0.0)


def _hits(obstacle: Obstacle, x_mm: Doubles, y_mm: Doubles) -> npt.NDArray[np.bool_]:
    beside = np.abs(x_mm - obstacle.x_mm) <= obstacle.width_mm / 2.0
    return np.asarray(beside & (y_mm >= 0.0) & (y_mm <= obstacle.height_mm))


def _disc(radius: float) -> tuple[Doubles, Doubles]:
    """Return points that fill a disc evenly: its middle and rings of 6, 12, 18 ... points."""
    across, down = [0.0], [0.0]
    for ring in range(1, _RINGS + 1):
        angles = np.arange(6 * ring) * (2.0 * math.pi / (6 * ring))
        # Half a ring's width inwards: the outermost points stand for area inside the disc.
        reach = radius * ring / (_RINGS + 0.5)
        across += (reach * np.cos(angles)).tolist()
        down += (reach * np.sin(angles)).tolist()
    return np.asarray(across), np.asarray(down)


def _shortness(budget_us: float) -> float:
    return DEFAULT_BUDGET_US / max(budget_us, 1.0)
