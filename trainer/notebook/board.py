"""TensorBoard's logs of a run: scalars, histograms, graph, HParams, pictures, profile.

Laws:
- everything lies under one folder, of which `tensorboard --logdir` makes pages;
- watching changes nothing: with and without it the same weights come out.

Keras's own callback writes the weights' histograms and the profile of one batch; what it does not
know (errors in the task's unit, graph, HParams, pictures) is written here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import keras
import msgspec
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from shared.picture import Pixels
from trainer.learning.rounds import STEPS_PER_ROUND, Round
from trainer.runtime import quiet
from trainer.settings import TrainingSettings

HISTOGRAM_EVERY: Final = 6
"""Rounds between two histograms of all weights: a tenth of a second each."""

PROFILED_BATCH: Final = 2 * STEPS_PER_ROUND
"""The batch that is profiled: the last of the second round, when everything is warm."""

EXAMPLES: Final = 12
"""Pictures shown with what the model says of them."""


class Board:
    """The logs in one folder."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder` of a run's logs, which is created with the first entry."""
        self._folder = folder
        run = folder.resolve().parents[2].name
        self._name = f"{run[:8]}/{folder.name}"
        self._writer: Any = None

    def callback(self) -> keras.callbacks.Callback:
        """Return Keras's own callback, for histograms and the profile of one batch."""
        return _Quiet(
            log_dir=str(self._folder),
            histogram_freq=HISTOGRAM_EVERY,
            write_graph=False,
            profile_batch=(PROFILED_BATCH, PROFILED_BATCH),
        )

    def on_round(self, each: Round) -> None:
        """Write the scalars of a round."""
        with self._writing():
            tf.summary.scalar("loss", each.loss, step=each.number)
            tf.summary.scalar("validation_mae", each.validation_mae, step=each.number)
            tf.summary.scalar("learning_rate", each.learning_rate, step=each.number)

    def told(self, settings: TrainingSettings, results: Mapping[str, float]) -> None:
        """Write what HParams compares: the settings, and what came of them."""
        values = {
            name: value if isinstance(value, int | float | bool | str) else str(value)
            for name, value in msgspec.to_builtins(settings).items()
        }
        with self._writing():
            hparams.hparams(values, trial_id=self._name)
            for name, value in results.items():
                tf.summary.scalar(name, value, step=0)
            self._writer.flush()

    def graph(self, network: keras.Model) -> None:
        """Write the graph of `network`; Keras's callback finds none in TensorFlow 2.21."""
        shape = (1, *network.input_shape[1:])
        called = tf.function(lambda picture: network(picture, training=False))
        with self._writing():
            tf.summary.graph(called.get_concrete_function(tf.TensorSpec(shape)).graph)

    def examples(self, pictures: Pixels, captions: Sequence[str]) -> None:
        """Write `pictures` (n x height x width x 3) with what the model says of them."""
        with self._writing():
            for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
                tf.summary.image(
                    f"held_out/{number:02d}", picture[np.newaxis], step=0, description=caption
                )
            text = "\n".join(f"{number:02d}: {each}  " for number, each in enumerate(captions))
            tf.summary.text("held_out", text, step=0)
            self._writer.flush()

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()

    def _writing(self) -> Any:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder), filename_suffix=".own")
        return self._writer.as_default()


class _Quiet(keras.callbacks.TensorBoard):  # type: ignore[misc]  # Keras ships no types
    """Keras's callback; what its profiler prints stays unsaid."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        with quiet():
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        with quiet():
            super().on_train_batch_end(batch, logs)

    def set_model(self, model: keras.Model) -> None:
        with quiet():
            super().set_model(model)
