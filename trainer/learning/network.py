"""The networks: one picture in, the value and the logarithm of its uncertainty out.

Laws:
- every variant is in `VARIANTS`, and nothing else knows of them;
- the input is a picture as float 0..1, so that its int8 form is exactly uint8 less 128;
- the outputs are called `value` (0..1 over the task's range) and `log_sigma` (natural logarithm of
  one standard deviation, in the same units); both are linear, so that both ends can be reached;
- every layer has a fixed name: names stand in the exported file, whose bytes are its identity;
- what is exported has a fixed batch of 1: a dynamic batch runs four times slower on a car.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import keras
import numpy as np

from shared.task import Task
from trainer.learning.tensors import LOG_SIGMA, PICTURE, VALUE
from trainer.settings import TrainingSettings

_FIRST_VALUE = 0.5
_FIRST_LOG_SIGMA = float(np.log(0.03))


def build(task: Task, settings: TrainingSettings, *, batch: int | None = None) -> keras.Model:
    """Return an untrained network for pictures of `task` (batch None: any)."""
    shape = (batch, task.picture_height, task.picture_width, 3)
    picture = keras.Input(batch_shape=shape, name=PICTURE)
    seeds = iter(range(settings.seed * 1000, settings.seed * 1000 + 1000))
    features = VARIANTS[settings.variant](picture, settings, seeds)
    if settings.dropout > 0:
        features = keras.layers.Dropout(settings.dropout, name="dropout", seed=next(seeds))(
            features
        )
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


def joined(network: keras.Model) -> keras.Model:
    """Return `network` with its outputs side by side (n x 2: value, log_sigma), for training."""
    both = keras.layers.Concatenate(name="joined")(
        [network.output[VALUE], network.output[LOG_SIGMA]]
    )
    return keras.Model(network.input, both)


def scale_sigma(network: keras.Model, factor: float) -> None:
    """Multiply the sigma that `network` answers by `factor`."""
    layer = network.get_layer(LOG_SIGMA)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + np.log(factor)])


def _plain(picture: Any, settings: TrainingSettings, seeds: Iterator[int]) -> Any:
    """3x3 convolutions of stride 2, then every place of the last one for itself."""
    return keras.layers.Flatten(name="flat")(_blocks(picture, settings, seeds))


def _pooled(picture: Any, settings: TrainingSettings, seeds: Iterator[int]) -> Any:
    """The same, then the mean over all places: few weights, for tasks where place tells nothing."""
    return keras.layers.GlobalAveragePooling2D(name="mean")(_blocks(picture, settings, seeds))


def _separable(picture: Any, settings: TrainingSettings, seeds: Iterator[int]) -> Any:
    """Depthwise and pointwise convolutions after the first: fewer weights and less to compute."""
    features = _convolution(settings.widths[0], 1, seeds)(picture)
    for number, width in enumerate(settings.widths[1:], start=2):
        features = keras.layers.DepthwiseConv2D(
            3,
            name=f"block_{number}_depthwise",
            strides=2,
            padding="same",
            activation="relu",
            depthwise_initializer=keras.initializers.HeNormal(seed=next(seeds)),
        )(features)
        features = keras.layers.Conv2D(
            width,
            1,
            name=f"block_{number}_pointwise",
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
        )(features)
    return keras.layers.Flatten(name="flat")(features)


def _blocks(picture: Any, settings: TrainingSettings, seeds: Iterator[int]) -> Any:
    features = picture
    for number, width in enumerate(settings.widths, start=1):
        features = _convolution(width, number, seeds)(features)
    return features


def _convolution(width: int, number: int, seeds: Iterator[int]) -> Any:
    return keras.layers.Conv2D(
        width,
        3,
        name=f"block_{number}",
        strides=2,
        padding="same",
        activation="relu",
        kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
    )


def _output(name: str, first: float, *, seed: int) -> Any:
    return keras.layers.Dense(
        1,
        name=name,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=seed),
        bias_initializer=keras.initializers.Constant(first),
    )


VARIANTS: Final[Mapping[str, Callable[[Any, TrainingSettings, Iterator[int]], Any]]] = {
    "plain": _plain,
    "pooled": _pooled,
    "separable": _separable,
}
"""From picture to features, by the name that settings give."""
