"""How a network is trained, in one record, and what its gates ask, in another.

Laws:
- the same settings, seed and data give the same file on the same machine;
- the defaults are measured; whoever changes one measures again.

Measured on two x86 cores shared with others, rendered pictures with the noise of a VL53L0X, 528
pairs of 24 manoeuvres by four cars on beige: four seeds, int8 in LiteRT against the simulator's
truth on 40 manoeuvres of four other cars, 1.5 to 2.2 mm (`tests.benchmarks.bench_worth` measures
it). 900 steps to a standstill, without averaged weights, gave 1.6 to 3.3 mm on the like (five
seeds, floats); batches of 8 at 1800 steps 2.1 mm where 16 gave 1.4 (one seed). With twice the
pictures, of two floors, steps see each too seldom: hence `passes`.
"""

from typing import Annotated, Literal

import msgspec

from shared.samples import Record

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Rate = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]

Part = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
HeldOut = Annotated[float, msgspec.Meta(gt=0.0, le=0.4)]


class TrainingSettings(Record, frozen=True):
    """Settings of one training run.

    `most_pairs` bounds the data set; `variant` names the network (see `learning.network`), `widths`
    its convolutions, `hidden` the layer before the outputs, `dropout` the share of features left
    out before that.

    `steps` counts gradient steps; where there are so many pictures (mirror images counted) that
    these see each one fewer than `passes` times, there are more, up to `most_steps`. `warm_up`
    is the share of them in which the value learns by absolute error alone; `beta` weighs
    samples in the likelihood after that (0 plain likelihood, 1 plain squared error). `averaged` is
    the share of the steps that the averaged weights reach back, exponentially. `patience`
    is the share of the rounds (of 25 steps) that bring nothing better before the training ends:
    the learning rate falls over all rounds, so a long training rests longer before it improves
    again. `keep` says which round's weights are kept: the best on the validation manoeuvres, or
    the last, where these are too few or too unlike the rest to choose by; then nothing stops
    early.
    """

    seed: Seed = 1
    most_pairs: Positive = 20_000
    steps: Positive = 1350
    passes: Positive = 17
    most_steps: Positive = 4000
    batch: Positive = 16
    learning_rate: Rate = 3e-3
    weight_decay: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1e-4
    warm_up: Share = 0.4
    beta: Share = 0.5
    averaged: Share = 0.04
    patience: Share = 0.5
    keep: Literal["best", "last"] = "best"
    variant: Literal["plain", "pooled", "separable"] = "plain"
    widths: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1, max_length=8)] = (
        16, 32, 64, 128,
    )  # fmt: skip
    dropout: Share = 0.0
    hidden: Positive = 16
    validation_share: HeldOut = 0.12
    test_share: HeldOut = 0.15
    mirror: bool = True
    threads: Positive = 2


class Limits(Record, frozen=True):
    """What the gates ask of a converted file (see `judging.gates`).

    Shares are of the task's range: `quantisation_share` is how much worse than float int8 may be,
    `setting_worse_share` or `setting_worse_of_itself` (of its own error, whichever is more) how
    much worse a setting may get, `unsaid_share` what the output may leave unsaid at either end.
    `coverage_points` is how far the shares within one and two sigma may be off. What is measured
    on few manoeuvres may miss its limit by `standard_errors` of them.
    """

    quantisation_share: Part = 0.2 / 350
    setting_worse_of_itself: Part = 0.10
    setting_worse_share: Part = 0.5 / 350
    unsaid_share: Part = 0.10
    coverage_points: Part = 0.05
    standard_errors: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 3.0
    latency_us: Annotated[float, msgspec.Meta(gt=0.0)] = 5_000.0
    size_bytes: Positive = 2 * 1024 * 1024
