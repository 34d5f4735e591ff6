"""Averaged weights between two rounds, and the live ones while steps are taken.

Laws:
- whoever looks at the model after a round sees the averages (Polyak and Juditsky 1992);
- the next round begins with the very weights that the last one ended with, to the bit.

Keras's own `SwapEMAWeights` swaps by adding and taking away, which rounds, and cannot be told that
a training goes on.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


class Averaging(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Puts the optimizer's averages into the model after every round; `live` are the others."""

    def __init__(self, live: Sequence[Any] = ()) -> None:
        """Go on with the weights `live`, as `live` was after the round before; none: begin."""
        super().__init__()
        self.live = list(live)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
        """Give the model its live weights back."""
        for each, live in zip(self.model.trainable_variables, self.live, strict=bool(self.live)):
            each.assign(live)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
        """Keep the live weights and put the averages in their place."""
        self.live = [np.asarray(each).copy() for each in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
