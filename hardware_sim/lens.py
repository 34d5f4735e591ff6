"""The camera's lens as tables: where each pixel looks, and what reaches it from there.

Laws:
- all that depends on the camera alone is computed once;
- a pixel's ray is that of a pinhole with radial distortion r' = r (1 + k1 r^2).
"""

import math

import numpy as np
import numpy.typing as npt

from hardware_sim.scene_tables import CameraModel

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_FAR_MM = 8000.0


class Rays:
    """Directions, floor points, pixel sizes and vignette of pictures `width` x `height`.

    Directions are in the car's frame: x to the right of the picture, y up, z to the rear; each has
    length 1 along the lens axis, so that depth times `centre_pixel` is what one pixel covers.
    """

    def __init__(self, camera: CameraModel, width: int, height: int) -> None:
        half_width = math.tan(math.radians(camera.fov_deg) / 2.0)
        self.centre_pixel = 2.0 * half_width / width
        across = ((np.arange(width) + 0.5) / width * 2.0 - 1.0) * half_width
        down = ((np.arange(height) + 0.5) * 2.0 - height) / width * half_width
        bent_x, bent_y = np.meshgrid(across, down)
        straight_x, straight_y = _undistorted(bent_x, bent_y, camera.distortion_k1)
        tilt = math.radians(camera.tilt_deg)
        self.x = straight_x.astype(np.float32)
        self.y = (-math.sin(tilt) - straight_y * math.cos(tilt)).astype(np.float32)
        self.z = (math.cos(tilt) - straight_y * math.sin(tilt)).astype(np.float32)
        to_floor = np.minimum(camera.height_mm / np.maximum(-self.y, 1e-6), _FAR_MM)
        self.floor_x = (to_floor * self.x).astype(np.float32)
        self.floor_z = (to_floor * self.z).astype(np.float32)
        # Across, a pixel covers distance x size; in depth it is stretched by the grazing view.
        # The geometric mean of both keeps detail without flicker.
        stretch = np.sqrt(np.maximum(np.hypot(self.z, self.y) / np.maximum(-self.y, 1e-3), 1.0))
        self.floor_footprint_mm = (to_floor * self.centre_pixel * stretch).astype(np.float32)
        radius = np.hypot(bent_x, bent_y) / math.hypot(half_width, half_width * height / width)
        self.vignette = (1.0 - camera.vignetting * radius**2)[..., None].astype(np.float32)


def _undistorted(x: Doubles, y: Doubles, k1: float) -> tuple[Doubles, Doubles]:
    """Return the points whose images under r' = r (1 + k1 r^2) are (x, y), by fixed point steps."""
    straight_x, straight_y = x, y
    for _ in range(12):
        factor = 1.0 + k1 * (straight_x**2 + straight_y**2)
        straight_x, straight_y = x / factor, y / factor
    return straight_x, straight_y
