"""How a network is trained: every number that shapes the result, in one record.

Laws:
- the same settings, seed and data give the same file on the same machine;
- the defaults are measured (docs in `trainer/fit.py`), and every change of them is one more run.
"""

from typing import Annotated

import msgspec

from shared.samples import Record

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class TrainingSettings(Record, frozen=True):
    """Settings of one training run.

    `steps` counts gradient steps, so that a run's time does not grow with the data; `warm_up` is
    the share of them in which the value learns by absolute error alone; `beta` weighs samples in
    the likelihood after that (0 plain likelihood, 1 plain squared error). `patience` is in epochs.
    """

    seed: int = 1
    steps: Positive = 600
    batch: Positive = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up: Share = 0.3
    beta: Share = 0.5
    patience: Positive = 12
    widths: tuple[Positive, ...] = (16, 32, 64, 128)
    hidden: Positive = 16
    validation_share: Share = 0.12
    test_share: Share = 0.15
    mirror: bool = True
    threads: Positive = 2
