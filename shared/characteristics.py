"""Statistics of a picture that travel where the picture itself may not.

They are those of the reference system (brightness, saturation, hue, mean R/G/B, contrast, texture,
keypoints), computed with OpenCV on the prepared picture, so that cars of any camera compare.
"""

import cv2
import numpy as np

from shared.picture import Pixels
from shared.samples import Characteristics

_FAST_THRESHOLD = 20


def measure(picture: Pixels) -> Characteristics:
    """Return the characteristics of a prepared `picture` (RGB, uint8, height x width x 3)."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    hue, saturation, brightness = cv2.mean(hsv)[:3]
    red, green, blue = cv2.mean(picture)[:3]
    _, deviation = cv2.meanStdDev(grey)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    corners = cv2.FastFeatureDetector.create(threshold=_FAST_THRESHOLD).detect(grey)
    return Characteristics(
        brightness=brightness,
        saturation=saturation,
        hue=hue,
        mean_red=red,
        mean_green=green,
        mean_blue=blue,
        contrast=float(deviation[0, 0]),
        texture=float(np.var(laplacian)),
        keypoints=len(corners),
    )
