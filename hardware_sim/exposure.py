"""From light to bytes: focus, exposure, white balance, vignette and noise of the camera's sensor.

Laws:
- what it adds depends on the seed, the light and the moment, on nothing else;
- exposure, white balance and focus hunt: each wanders by sums of slow sines, as the control loops
  of a camera do in a scene that gives them no rest;
- a dim picture is amplified, and its noise with it.
"""

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from hardware_sim.lens import Rays
from hardware_sim.scene_tables import CameraModel, Light
from shared.picture import Pixels

Floats = npt.NDArray[np.float32]

_NOISE_BANK: Final = 1 << 18
_WANDER_PERIODS_S: Final = (1.7, 4.3, 11.9)
_TARGET_LEVEL: Final = 128.0
_MASK_64: Final = (1 << 64) - 1
_REFERENCE_WIDTH: Final = 100.0
_SHARP_PX: Final = 0.05
"""Below this standard deviation a blur changes no byte."""


class Sensor:
    """Exposes pictures of one scene and size; draws its chances from `rng` once."""

    def __init__(
        self,
        camera: CameraModel,
        light: Light,
        rays: Rays,
        shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        self._camera = camera
        self._vignette = rays.vignette
        self._gain = np.asarray(light.colour, dtype=np.float32) / 255.0 * light.level
        self._pixel_scale = shape[1] / _REFERENCE_WIDTH
        size = shape[0] * shape[1] * 3
        self._noise = rng.standard_normal(_NOISE_BANK + size, dtype=np.float32)
        self._phases = rng.uniform(0.0, 2.0 * math.pi, (4, len(_WANDER_PERIODS_S)))
        self._focus_phases = rng.uniform(0.0, 2.0 * math.pi, len(_WANDER_PERIODS_S))

    def exposed(self, linear: Floats, at_us: int) -> Pixels:
        """Return what the sensor makes of `linear` (0..255 and above; overwritten) at a moment."""
        camera = self._camera
        gain = self._gain * self._wander(at_us)
        means = np.maximum(np.asarray(cv2.mean(linear)[:3], dtype=np.float32) * gain, 1.0)
        grey = float(means.mean())
        gain = gain * (grey / means) ** camera.auto_white_balance
        amplified = (_TARGET_LEVEL / grey) ** camera.auto_exposure
        linear *= self._vignette
        linear *= (gain * amplified).astype(np.float32)
        blur_px = self._blur_px(at_us)
        if blur_px > _SHARP_PX:
            linear = np.asarray(cv2.GaussianBlur(linear, (0, 0), blur_px), np.float32)
        np.clip(linear, 0.0, 255.0, out=linear)
        return self._noisy(linear, at_us, max(amplified, 1.0))

    def _noisy(self, linear: Floats, at_us: int, amplified: float) -> Pixels:
        camera = self._camera
        start = _mixed(at_us) % _NOISE_BANK
        noise = self._noise[start : start + linear.size].reshape(linear.shape)
        # Variances of read and shot noise add; the latter grows with the light collected.
        per_level = camera.shot_noise**2 / 255.0 * amplified
        linear += noise * np.sqrt((camera.read_noise * amplified) ** 2 + per_level * linear)
        return np.asarray(cv2.convertScaleAbs(np.maximum(linear, 0.0)), dtype=np.uint8)

    def _wander(self, at_us: int) -> Floats:
        """Return the factors per channel by which exposure and white balance hunt at a moment."""
        waves = np.sin(_angles(at_us) + self._phases).mean(axis=1)
        camera = self._camera
        return np.asarray(
            1.0 + camera.exposure_hunting * waves[0] + camera.colour_hunting * waves[1:], np.float32
        )

    def _blur_px(self, at_us: int) -> float:
        """Return the blur's standard deviation at a moment, in pixels of this picture."""
        camera = self._camera
        blur_px = camera.focus_blur_px
        if camera.focus_hunting_px > 0.0:
            wave = float(np.sin(_angles(at_us) + self._focus_phases).mean())
            blur_px += camera.focus_hunting_px * (1.0 + wave) / 2.0
        return blur_px * self._pixel_scale


def _angles(at_us: int) -> npt.NDArray[np.float64]:
    return 2.0 * math.pi * (at_us / 1e6) / np.asarray(_WANDER_PERIODS_S)


def _mixed(value: int) -> int:
    """Return `value` spread over 64 bits (splitmix64), so that neighbours in time share nothing."""
    mixed = (value + 0x9E3779B97F4A7C15) & _MASK_64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    return mixed ^ (mixed >> 27)
