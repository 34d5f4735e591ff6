"""Sigma made true on held-out manoeuvres: one factor, folded into the network's last bias.

Laws:
- a network is surer of pictures that it has learnt than of new ones: the factor comes from
  manoeuvres that it was not trained on;
- one sigma shall cover 68.3 % of the errors and two 95.4 %, as of a Gaussian: where the errors'
  shape does not let one factor do both, both are missed by as little as can be;
- one bad label cannot set the factor: shares count pictures, not how wrong they are.
"""

from typing import Final

import numpy as np

from trainer.data.dataset import Floats

WITHIN_1_SIGMA: Final = 0.6827
WITHIN_2_SIGMA: Final = 0.9545

_FACTORS: Final = np.geomspace(0.02, 50.0, 1600)
"""Half a per cent apart."""


def coverage(errors: Floats, sigmas: Floats) -> tuple[float, float]:
    """Return the shares of absolute `errors` within one and within two of their `sigmas`."""
    scores = np.abs(errors) / sigmas
    return float(np.mean(scores <= 1.0)), float(np.mean(scores <= 2.0))


def factor(errors: Floats, sigmas: Floats) -> float:
    """Return what `sigmas` must be multiplied by (0.02 to 50) to cover `errors` as they should.

    The factor whose worse of the two shares is nearest to what it should be; of several, the middle
    one in the logarithm.
    """
    scores = np.sort(np.abs(errors) / sigmas)
    within_1, within_2 = (
        np.searchsorted(scores, sigma * _FACTORS, side="right") / len(scores) for sigma in (1, 2)
    )
    missed = np.maximum(np.abs(within_1 - WITHIN_1_SIGMA), np.abs(within_2 - WITHIN_2_SIGMA))
    best = np.log(_FACTORS[missed <= missed.min() + 1e-9])
    return float(np.exp(np.median(best)))
