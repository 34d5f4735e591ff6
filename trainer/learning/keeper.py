"""Judges rounds on the validation manoeuvres, and keeps the best one's weights.

Laws:
- which rounds are judged follows from the settings alone (see `rounds`);
- a loss that is no number ends the training at once, judged or not;
- who is told of a round ends the training by raising.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from shared.errors import RefusedError
from shared.task import Task
from trainer.data.dataset import Part
from trainer.learning.rounds import Round, is_judged
from trainer.settings import TrainingSettings

_AT_ONCE: Final = 256
"""Pictures judged in one call: their features fit the cache of a core, and few calls are made."""


class Keeper:
    """The rounds of one training so far, and the weights of the best of them.

    What a kept training had so far is put back by setting `rounds`, `best_round`, `best_weights`.
    """

    def __init__(
        self,
        model: keras.Model,
        validation: Part,
        task: Task,
        settings: TrainingSettings,
        *,
        of: int,
    ) -> None:
        """Judge `model`, of which `of` rounds are planned, on `validation`."""
        self.of = of
        self.rounds: list[Round] = []
        self.best_round = 0
        self.best_weights: Sequence[Any] = ()
        self._model = model
        self._pictures = [
            tf.constant(validation.pictures[at : at + _AT_ONCE])
            for at in range(0, len(validation), _AT_ONCE)
        ]
        self._labels = validation.labels
        self._span = task.span
        self._settings = settings
        self._values = tf.function(
            lambda pictures: model(tf.cast(pictures, tf.float32) / 255.0, training=False)[:, 0],
            input_signature=[tf.TensorSpec((None, *validation.pictures.shape[1:]), tf.uint8)],
        )

    @property
    def is_over(self) -> bool:
        """Tell whether all rounds are done, or nothing got better for too long."""
        if not self.rounds:
            return False
        last = self.rounds[-1].number
        return last >= self.of or last - self.best_round >= self._settings.patience * self.of

    def judge(self, number: int, loss: float, tell: Callable[[Round], None]) -> None:
        """Look at round `number` (from 1) whose mean loss was `loss`, and `tell` of it.

        Raises:
            RefusedError: training diverged.
        """
        if not np.isfinite(loss):
            raise self._diverged(number)
        if not is_judged(number, self.of, self._settings):
            return
        values = np.concatenate([np.asarray(self._values(each)) for each in self._pictures])
        mae = float(np.mean(np.abs(values - self._labels))) * self._span
        if not np.isfinite(mae):
            raise self._diverged(number)
        rate = float(np.asarray(self._model.optimizer.learning_rate))
        self.rounds.append(Round(number, self.of, loss, mae, rate))
        if self._is_kept(mae):
            self.best_round = number
            self.best_weights = self._model.get_weights()
        tell(self.rounds[-1])

    def restore(self) -> None:
        """Give the model the weights of its best round."""
        self._model.set_weights(self.best_weights)

    def _is_kept(self, mae: float) -> bool:
        if not self.best_round or self._settings.keep == "last":
            return True
        return mae < min(each.validation_mae for each in self.rounds[:-1])

    def _diverged(self, number: int) -> RefusedError:
        return RefusedError(
            f"training diverged in round {number}: lower the learning rate "
            f"(now {self._settings.learning_rate:g})"
        )
