"""Pictures varied as light and cameras vary them; the label stays true.

Laws:
- only what leaves the label unchanged: exposure, colour, noise, and a mirror image where the task
  allows one; nothing moves or scales the scene;
- the same seed gives the same pictures;
- it costs a fraction of the training step: exposure, white balance and saturation are one 3x3
  matrix a picture, noise comes from a bank, mirror images are made once (measured: 2 ms a batch of
  32; drawn pixel by pixel it was 20 ms, more than the step itself).

The ranges cover a camera's automatic exposure and white balance being off by about a quarter.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.dataset import Part

EXPOSURE = 0.25
"""Largest logarithm of the gain of the whole picture."""
COLOUR = 0.08
"""Largest logarithm of the gain of one channel."""
SATURATION = 0.3
"""Largest change of the distance from grey, as a share of it."""
NOISE = 0.02
"""Largest standard deviation of the noise of a pixel, full scale being 1."""

_BANK = 64


def with_mirror_images(part: Part) -> Part:
    """Return `part` followed by its pictures turned left to right."""
    turned = part.pictures[:, :, ::-1]
    return Part(np.concatenate([part.pictures, turned]), np.concatenate([part.labels, part.labels]))


class Variation:
    """Varies batches of float pictures (n x height x width x 3, 0..1); `seed` fixes the noise."""

    def __init__(self, height: int, width: int, *, seed: int) -> None:
        self._bank = tf.random.stateless_normal([_BANK, height, width, 3], [seed, 0])

    def __call__(self, pictures: Any, seed: Any) -> Any:
        """Return `pictures` varied; `seed` is two int64."""
        n = tf.shape(pictures)[0]
        draws = tf.random.stateless_uniform([n, 6], seed, -1.0, 1.0)
        gain = tf.exp(EXPOSURE * draws[:, :1] + COLOUR * draws[:, 1:4])
        saturation = (1.0 + SATURATION * draws[:, 4])[:, None, None]
        # Towards or away from the mean of the channels, then a gain on each.
        matrix = tf.eye(3) * saturation + (1.0 - saturation) / 3.0
        matrix *= gain[:, None, :]
        flat = tf.reshape(pictures, [n, -1, 3]) @ matrix
        varied = tf.reshape(flat, tf.shape(pictures))
        chosen = tf.random.stateless_uniform([n], seed, 0, _BANK, tf.int32)
        varied += tf.gather(self._bank, chosen) * (NOISE * draws[:, 5, None, None, None])
        return tf.clip_by_value(varied, 0.0, 1.0)
