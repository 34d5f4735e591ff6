"""Training: seeded, with early stopping, telling how it goes after every round.

Laws:
- what is judged and kept are weights averaged over the last steps (Polyak and Juditsky 1992), which
  a single step cannot throw off;
- weights come from training pictures only; the round to keep and the calibration of sigma come from
  the validation manoeuvres; test manoeuvres are never seen here;
- time is bounded by steps, whatever the amount of data: a round is a fixed number of steps;
- who is told of a round ends the training by raising.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import msgspec
import numpy as np
import tensorflow as tf

from shared.clock import Clock
from shared.errors import RefusedError
from shared.task import Task
from trainer.data.dataset import Floats, Part
from trainer.learning import augment, calibrate, network
from trainer.learning.likelihood import Likelihood
from trainer.learning.rounds import STEPS_PER_ROUND, Round, planned_steps, shortened
from trainer.learning.tensors import LOG_SIGMA, VALUE
from trainer.settings import TrainingSettings

_LAST_RATE: Final = 0.15
"""What is left of the learning rate at the end: averaged weights go on learning, and need no
standstill to be good."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network, its rounds, the one whose weights were kept, and sigma's calibration.

    `sigma_factor` is what the network's own sigma was multiplied by.
    """

    network: keras.Model
    rounds: tuple[Round, ...]
    best_round: int
    sigma_factor: float
    seconds: float

    def weights(self) -> Sequence[Any]:
        """Return the network's weights, in its own order."""
        return [np.asarray(each) for each in self.network.get_weights()]


def fit(
    train: Part,
    validation: Part,
    task: Task,
    settings: TrainingSettings,
    *,
    clock: Clock,
    on_round: Callable[[Round], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    begun: Sequence[Any] | None = None,
) -> Fitted:
    """Return a network trained on `train`; an exception raised by `on_round` ends it.

    `callbacks` are Keras's, for those who want to see more; a round is an epoch. Where the settings
    have a restart, `begun` is the weights that its short training ended with: None makes it now,
    which nobody is told of, and comes to the same bytes.

    Raises:
        RefusedError: training diverged.
    """
    started_us = clock.monotonic_us()
    trained = network.build(task, settings)
    if settings.restart:
        short = shortened(msgspec.structs.replace(settings, restart=0.0), settings.restart)
        trained.set_weights(
            begun or fit(train, validation, task, short, clock=clock, on_round=_nobody).weights()
        )
    both = network.joined(trained)
    rounds = planned_steps(len(train), settings) // STEPS_PER_ROUND
    keeper = _Keeper(both, validation, task, settings, rounds=rounds, tell=on_round)
    _train(both, train, settings, keeper, callbacks)
    keeper.restore()
    return Fitted(
        network=trained,
        rounds=tuple(keeper.rounds),
        best_round=keeper.best_round,
        sigma_factor=_calibrated(trained, validation),
        seconds=(clock.monotonic_us() - started_us) / 1e6,
    )


def predict(trained: keras.Model, part: Part) -> tuple[Floats, Floats]:
    """Return the float network's values and log sigmas (float32, n each) for `part`."""
    batches = [
        trained(_as_float(part.pictures[at : at + 128]), training=False)
        for at in range(0, len(part), 128)
    ]
    values, log_sigmas = (
        np.concatenate([np.asarray(batch[name])[:, 0] for batch in batches]).astype(np.float32)
        for name in (VALUE, LOG_SIGMA)
    )
    return values, log_sigmas


def _nobody(_round: Round) -> None:
    pass


def _train(
    both: keras.Model,
    train: Part,
    settings: TrainingSettings,
    keeper: "_Keeper",
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train `both` for as many rounds as `keeper` has, or until it stops."""
    likelihood = Likelihood(settings.beta)
    both.compile(_optimizer(settings, keeper.of * STEPS_PER_ROUND), loss=likelihood)
    warm_from = settings.warm_up * keeper.of
    keeping = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, _: likelihood.warm.assign(epoch >= warm_from),
        on_epoch_end=keeper.judge,
    )
    # At a round's end it puts the averaged weights in: whoever comes after it sees those.
    averaging = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    both.fit(
        _batches(train, settings),
        epochs=keeper.of,
        steps_per_epoch=STEPS_PER_ROUND,
        callbacks=[averaging, keeping, *callbacks],
        shuffle=False,
        verbose=0,
    )


def _as_float(pictures: Any) -> Any:
    return tf.cast(pictures, tf.float32) / 255.0


def _batches(train: Part, settings: TrainingSettings) -> Any:
    source = augment.with_mirror_images(train) if settings.mirror else train
    height, width = train.pictures.shape[1:3]
    vary = augment.Variation(height, width, seed=settings.seed)

    def varied(batch: tuple[Any, Any], number: Any) -> tuple[Any, Any]:
        pictures, labels = batch
        seed = tf.stack([tf.constant(settings.seed, tf.int64), number])
        return vary(_as_float(pictures), seed), labels

    examples = tf.data.Dataset.from_tensor_slices((source.pictures, source.labels))
    shuffled = examples.shuffle(len(source), seed=settings.seed).repeat().batch(settings.batch)
    numbered = tf.data.Dataset.zip(shuffled, tf.data.Dataset.counter())
    return numbered.map(varied, num_parallel_calls=1).prefetch(2)


def _optimizer(settings: TrainingSettings, steps: int) -> Any:
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate * 0.1,
        steps,
        alpha=_LAST_RATE,
        warmup_target=settings.learning_rate,
        warmup_steps=steps // 20,
    )
    reaches_back = max(1.0, settings.averaged * steps)
    return keras.optimizers.AdamW(
        rate,
        weight_decay=settings.weight_decay,
        clipnorm=1.0,
        use_ema=True,
        ema_momentum=1.0 - 1.0 / reaches_back,
    )


class _Keeper:
    """Judges every round on the validation manoeuvres and keeps the best one's weights."""

    def __init__(
        self,
        model: keras.Model,
        validation: Part,
        task: Task,
        settings: TrainingSettings,
        *,
        rounds: int,
        tell: Callable[[Round], None],
    ) -> None:
        self.of = rounds
        self.rounds: list[Round] = []
        self.best_round = 0
        self._best_weights: list[Any] = []
        self._model = model
        self._validation = validation
        self._span = task.span
        self._settings = settings
        self._tell = tell

    def judge(self, epoch: int, logs: dict[str, float]) -> None:
        """Look at the round that Keras calls `epoch`, counting from 0.

        Raises:
            RefusedError: training diverged.
        """
        values = np.asarray(self._model(_as_float(self._validation.pictures), training=False))[:, 0]
        mae = float(np.mean(np.abs(values - self._validation.labels))) * self._span
        if not np.isfinite(mae) or not np.isfinite(logs["loss"]):
            raise RefusedError(
                f"training diverged in round {epoch + 1}: lower the learning rate "
                f"(now {self._settings.learning_rate:g})"
            )
        rate = float(np.asarray(self._model.optimizer.learning_rate))
        self.rounds.append(Round(epoch + 1, self.of, logs["loss"], mae, rate))
        if self._is_kept(mae):
            self.best_round = epoch + 1
            self._best_weights = self._model.get_weights()
        elif epoch + 1 - self.best_round >= self._settings.patience * self.of:
            self._model.stop_training = True
        self._tell(self.rounds[-1])

    def _is_kept(self, mae: float) -> bool:
        if not self.best_round or self._settings.keep == "last":
            return True
        return mae < self.rounds[self.best_round - 1].validation_mae

    def restore(self) -> None:
        """Give the model the weights of its best round."""
        self._model.set_weights(self._best_weights)


def _calibrated(trained: keras.Model, validation: Part) -> float:
    values, log_sigmas = predict(trained, validation)
    scaled_by = calibrate.factor(values - validation.labels, np.exp(log_sigmas))
    network.scale_sigma(trained, scaled_by)
    return scaled_by
