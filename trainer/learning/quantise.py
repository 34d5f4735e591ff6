"""The trained network as a full-int8 TFLite file.

Laws:
- weights, activations, input and outputs are int8; the batch is 1;
- the input's scale is 1/255 and its zero point -128 whatever the data: a car subtracts 128;
- the ranges come from at least 200 pictures over all bins of the label and all settings, where
  there are that many;
- the tensors in the file are called `picture`, `value` and `log_sigma`: told apart by name in any
  runtime.
"""

import tempfile
from collections.abc import Iterator
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from shared.picture import Pixels
from shared.task import Task
from trainer.data.dataset import Indices
from trainer.learning import network
from trainer.runtime import quiet
from trainer.settings import TrainingSettings

REPRESENTATIVE = 300
"""Pictures that set the ranges: 200 cost nothing against float, 20 cost 0.2 mm and a bias."""


def to_int8(
    trained: keras.Model, pictures: Pixels, task: Task, settings: TrainingSettings
) -> bytes:
    """Return `trained` converted, its ranges taken from `pictures` (uint8, n x h x w x 3)."""
    exported = network.build(task, settings, batch=1)
    exported.set_weights(trained.get_weights())
    return converted(exported, pictures)


def converted(exported: keras.Model, pictures: Pixels | None) -> bytes:
    """Return `exported`, whose batch is 1, as a file: full int8, float where `pictures` is None."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        exported.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if pictures is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
            converter.representative_dataset = lambda: _inputs(pictures)
        return _named(cast("bytes", converter.convert()))


def representative(strata: Indices, *, seed: int, count: int = REPRESENTATIVE) -> Indices:
    """Return up to `count` places of `strata`, as evenly over its different numbers as can be."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(strata))
    # A row's rank inside its stratum: taking the lowest ranks first fills all strata evenly.
    rank = np.zeros(len(strata), dtype=np.int64)
    for number in np.unique(strata):
        rows = order[strata[order] == number]
        rank[rows] = np.arange(len(rows))
    chosen = order[np.argsort(rank[order], kind="stable")][:count]
    return np.sort(chosen).astype(np.int64)


def _inputs(pictures: Pixels) -> Iterator[list[Any]]:
    for number, picture in enumerate(pictures):
        as_float = picture.astype(np.float32)[np.newaxis] / np.float32(255)
        if number == 0:
            # One pixel black and one white, so that the input's range is 0..1 exactly.
            as_float[0, 0, 0], as_float[0, 0, 1] = 0.0, 1.0
        yield [as_float]


def _named(model: bytes) -> bytes:
    """Return `model` with its input and outputs named after the network's, not the converter's."""
    parsed = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    tensors = parsed.subgraphs[0].tensors
    signature = parsed.signatureDefs[0]
    for entry in [*signature.inputs, *signature.outputs]:
        tensors[entry.tensorIndex].name = bytes(entry.name)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))
