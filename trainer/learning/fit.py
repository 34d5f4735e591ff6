"""Training: seeded, with early stopping, telling how it goes after every round that is judged.

Laws:
- what is judged and kept are weights averaged over the last steps (Polyak and Juditsky 1992), which
  a single step cannot throw off;
- weights come from training pictures only; the round to keep and the calibration of sigma come from
  the validation manoeuvres; test manoeuvres are never seen here;
- time is bounded by steps, whatever the amount of data: a round is a fixed number of steps;
- who is told of a round ends the training by raising;
- a training may stand still after any round and go on, here or elsewhere from what it stood at: it
  ends with the very bytes that it would have ended with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from shared.clock import Clock
from shared.task import Task
from trainer.data.dataset import Floats, Part
from trainer.learning import augment, calibrate, network
from trainer.learning.averaging import Averaging
from trainer.learning.keeper import Keeper
from trainer.learning.likelihood import Likelihood
from trainer.learning.rounds import STEPS_PER_ROUND, Round, numbered, planned_rounds
from trainer.learning.tensors import LOG_SIGMA, VALUE
from trainer.settings import TrainingSettings

_LAST_RATE: Final = 0.15
"""What is left of the learning rate at the end: averaged weights go on learning, and need no
standstill to be good."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network, its judged rounds, the one that was kept, and sigma's calibration.

    `sigma_factor` is what the network's own sigma was multiplied by.
    """

    network: keras.Model
    rounds: tuple[Round, ...]
    best_round: int
    sigma_factor: float
    seconds: float

    @property
    def best(self) -> Round:
        """Return the round whose weights were kept."""
        return numbered(self.rounds, self.best_round)

    def weights(self) -> Sequence[Any]:
        """Return the network's weights, in its own order."""
        return [np.asarray(each) for each in self.network.get_weights()]


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """All that a training is after a round: what makes it go on to the same bytes.

    `live` are the weights that steps are taken with, `other` the network's other variables (the
    state of its dropout), `optimizer` the optimizer's (moments, averages, steps so far), `best` the
    weights of the best round; all as arrays, in the order of the model. `done` counts rounds.
    """

    done: int
    rounds: tuple[Round, ...]
    best_round: int
    live: Sequence[Any]
    other: Sequence[Any]
    optimizer: Sequence[Any]
    best: Sequence[Any]


class Training:
    """One training, from its first round or from where it stood."""

    def __init__(
        self,
        train: Part,
        validation: Part,
        task: Task,
        settings: TrainingSettings,
        *,
        stood: Standing | None = None,
    ) -> None:
        """Prepare to train on `train`; takes no step yet.

        Raises:
            ValueError: `stood` is of other settings.
        """
        self._train, self._validation, self._settings = train, validation, settings
        self._network = network.build(task, settings)
        self._both = network.joined(self._network)
        self._likelihood = Likelihood(settings.beta)
        of = planned_rounds(len(train), settings)
        self._both.compile(_optimizer(settings, of * STEPS_PER_ROUND), loss=self._likelihood)
        self._keeper = Keeper(self._both, validation, task, settings, of=of)
        self._averaging = Averaging()
        self._done = 0
        if stood:
            self._put_back(stood)

    def go_on(
        self,
        *,
        until: int | None = None,
        on_round: Callable[[Round], None],
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Train until so many rounds are done; None: to the end.

        Raises:
            RefusedError: training diverged.
        """
        keeper = self._keeper
        warm_from = self._settings.warm_up * keeper.of

        def end(epoch: int, logs: dict[str, float]) -> None:
            self._done = epoch + 1
            keeper.judge(epoch + 1, logs["loss"], on_round)
            self._both.stop_training = keeper.is_over

        telling = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, _: self._likelihood.warm.assign(epoch >= warm_from),
            on_epoch_end=end,
        )
        if keeper.is_over:
            return
        self._both.fit(
            _batches(self._train, self._settings, after=self._done * STEPS_PER_ROUND),
            initial_epoch=self._done,
            epochs=min(until or keeper.of, keeper.of),
            steps_per_epoch=STEPS_PER_ROUND,
            # Averages first: whoever comes after them sees those.
            callbacks=[self._averaging, telling, *callbacks],
            shuffle=False,
            verbose=0,
        )

    def standing(self) -> Standing:
        """Return what the training is now; at least one round is done."""
        return Standing(
            done=self._done,
            rounds=tuple(self._keeper.rounds),
            best_round=self._keeper.best_round,
            live=self._averaging.live,
            other=[np.asarray(each).copy() for each in self._both.non_trainable_variables],
            optimizer=[np.asarray(each).copy() for each in self._both.optimizer.variables],
            best=self._keeper.best_weights,
        )

    def fitted(self, *, seconds: float) -> Fitted:
        """End the training: return the network of its best round, sigma calibrated."""
        self._keeper.restore()
        return Fitted(
            network=self._network,
            rounds=tuple(self._keeper.rounds),
            best_round=self._keeper.best_round,
            sigma_factor=_calibrated(self._network, self._validation),
            seconds=seconds,
        )

    def _put_back(self, stood: Standing) -> None:
        optimizer = self._both.optimizer
        optimizer.build(self._both.trainable_variables)
        for variables, values in (
            (self._both.non_trainable_variables, stood.other),
            (optimizer.variables, stood.optimizer),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._both.set_weights(stood.best)
        self._averaging = Averaging(stood.live)
        self._keeper.rounds = list(stood.rounds)
        self._keeper.best_round = stood.best_round
        self._keeper.best_weights = stood.best
        self._done = stood.done


def fit(
    train: Part,
    validation: Part,
    task: Task,
    settings: TrainingSettings,
    *,
    clock: Clock,
    on_round: Callable[[Round], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Fitted:
    """Return a network trained on `train`; an exception raised by `on_round` ends it.

    `callbacks` are Keras's, for those who want to see more; a round is an epoch.

    Raises:
        RefusedError: training diverged.
    """
    started_us = clock.monotonic_us()
    training = Training(train, validation, task, settings)
    training.go_on(on_round=on_round, callbacks=callbacks)
    return training.fitted(seconds=(clock.monotonic_us() - started_us) / 1e6)


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


def _as_float(pictures: Any) -> Any:
    return tf.cast(pictures, tf.float32) / 255.0


def _batches(train: Part, settings: TrainingSettings, *, after: int) -> Any:
    """Return the endless batches of a training, those after the first `after` of them."""
    source = augment.with_mirror_images(train) if settings.mirror else train
    height, width = train.pictures.shape[1:3]
    vary = augment.Variation(height, width, seed=settings.seed)

    def varied(batch: tuple[Any, Any], number: Any) -> tuple[Any, Any]:
        pictures, labels = batch
        seed = tf.stack([tf.constant(settings.seed, tf.int64), number])
        return vary(_as_float(pictures), seed), labels

    examples = tf.data.Dataset.from_tensor_slices((source.pictures, source.labels))
    shuffled = examples.shuffle(len(source), seed=settings.seed).repeat().batch(settings.batch)
    counted = tf.data.Dataset.zip(shuffled, tf.data.Dataset.counter())
    return counted.skip(after).map(varied, num_parallel_calls=1).prefetch(2)


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


def _calibrated(trained: keras.Model, validation: Part) -> float:
    values, log_sigmas = predict(trained, validation)
    scaled_by = calibrate.factor(values - validation.labels, np.exp(log_sigmas))
    network.scale_sigma(trained, scaled_by)
    return scaled_by
