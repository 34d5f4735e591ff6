"""What training minimises: absolute error first, then a proper likelihood of value and sigma.

Laws:
- the value learns by absolute error first, so that a sigma still wide cannot excuse a poor value;
- then both learn by the Gaussian likelihood, each picture weighted by sigma^(2 beta), so that
  pictures that are surely known do not drown the others (Seitzer et al. 2022, "On the pitfalls of
  heteroscedastic uncertainty estimation with probabilistic neural networks", eq. 5).
"""

from typing import Any

import tensorflow as tf

_LEAST_LOG_SIGMA = -6.0
"""Below a four-hundredth of the range no sensor of ours is believed; keeps exp(-2 x) bounded."""


class Likelihood:
    """Absolute error at first, the weighted Gaussian likelihood once `warm` is set."""

    def __init__(self, beta: float) -> None:
        self.warm = tf.Variable(initial_value=False, trainable=False)
        self._beta = beta

    def __call__(self, labels: Any, answers: Any) -> Any:
        """Return each picture's loss; `answers` are n x 2: value, log_sigma."""
        log_sigma = tf.maximum(answers[:, 1], _LEAST_LOG_SIGMA)
        residual = tf.reshape(labels, [-1]) - answers[:, 0]
        return tf.where(
            self.warm,
            self._weighted(residual, log_sigma),
            tf.abs(residual) + self._weighted(tf.stop_gradient(residual), log_sigma),
        )

    def _weighted(self, residual: Any, log_sigma: Any) -> Any:
        weight = tf.stop_gradient(tf.exp(2.0 * self._beta * log_sigma))
        return weight * (0.5 * tf.square(residual) * tf.exp(-2.0 * log_sigma) + log_sigma)
