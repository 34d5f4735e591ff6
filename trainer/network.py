"""The network: one picture in, the value and the logarithm of its uncertainty out.

Laws:
- the input is a picture as float 0..1, so that its int8 form is exactly uint8 less 128;
- the outputs are called `value` (0..1 over the task's range) and `log_sigma` (natural logarithm of
  one standard deviation, in the same units); both are linear, so that both ends can be reached;
- every layer has a fixed name: names stand in the exported file, whose bytes are its identity;
- what is exported has a fixed batch of 1: a dynamic batch runs four times slower on a car.
"""

from typing import Any

import keras
import numpy as np

from shared.task import Task
from trainer.settings import TrainingSettings

PICTURE = "picture"
VALUE = "value"
LOG_SIGMA = "log_sigma"

_FIRST_VALUE = 0.5
_FIRST_LOG_SIGMA = float(np.log(0.03))


def build(task: Task, settings: TrainingSettings, *, batch: int | None = None) -> keras.Model:
    """Return an untrained network for pictures of `task` (batch None: any).

    A plain stack of 3x3 convolutions of stride 2, one hidden layer and two linear outputs.
    """
    shape = (batch, task.picture_height, task.picture_width, 3)
    picture = keras.Input(batch_shape=shape, name=PICTURE)
    seeds = iter(range(settings.seed * 1000, settings.seed * 1000 + 1000))
    features = picture
    for number, width in enumerate(settings.widths, start=1):
        features = keras.layers.Conv2D(
            width,
            3,
            name=f"block_{number}",
            strides=2,
            padding="same",
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
        )(features)
    features = keras.layers.Flatten(name="flat")(features)
    features = keras.layers.Dense(
        settings.hidden,
        name="hidden",
        activation="relu",
        kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
    )(features)
    outputs = {
        name: _output(name, first, seed=next(seeds))(features)
        for name, first in ((VALUE, _FIRST_VALUE), (LOG_SIGMA, _FIRST_LOG_SIGMA))
    }
    return keras.Model(picture, outputs, name="network")


def _output(name: str, first: float, *, seed: int) -> Any:
    return keras.layers.Dense(
        1,
        name=name,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=seed),
        bias_initializer=keras.initializers.Constant(first),
    )


def joined(network: keras.Model) -> keras.Model:
    """Return `network` with its outputs side by side (n x 2: value, log_sigma), for training."""
    both = keras.layers.Concatenate()([network.output[VALUE], network.output[LOG_SIGMA]])
    return keras.Model(network.input, both)
