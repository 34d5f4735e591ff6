"""Evidence that adds up: e-values against a reference, and detectors that bound false alarms.

Laws:
- an e-value is at most 1 on average where nothing changed, whatever the values look like: it needs
  exchangeable manoeuvres, and no distribution;
- an e-detector alarms, where nothing changed, after at least 1 / alpha manoeuvres on average,
  however long one looks; the memory is one number;
- what is compared with is the reference made worse by the slack: a little worse is no change.

Sources: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change
detection" (New England Journal of Statistics in Data Science, 2024) for the sum (Shiryaev-Roberts);
Ren, Barber, "Derandomised knockoffs" and Vovk, "Conformal e-prediction" (2024) for the soft rank,
which for n reference values r and a new one x is

    E = (n + 1) * g(x) / (g(r_1) + ... + g(r_n) + g(x)),   g(x) = x ** POWER

The power is how much a large value weighs. With 4 a manoeuvre at twice the reference's error gives
E = 9 or so, one at five times nearly n + 1; what 1, 2 and 6 do is in docs/adr/0042.

A p-value p becomes the e-value 0.5 / sqrt(p) (Vovk, Wang, "E-values: calibration, combination and
applications", Annals of Statistics 2021).
"""

import math
from collections.abc import Sequence
from typing import Final

POWER: Final = 4.0
_TINY: Final = 1e-12


def soft_rank(value: float, reference: Sequence[float], slack: float) -> float:
    """Return the e-value of `value` (0 or more) beside `reference`, each made `slack` times worse.

    1.0, which is no evidence, where there is no reference or either is not a number.
    """
    if not reference or not math.isfinite(value):
        return 1.0
    weight = math.pow(max(value, _TINY), POWER)
    others = sum([math.pow(max(each * slack, _TINY), POWER) for each in reference])
    return (len(reference) + 1) * weight / (others + weight)


def calibrated(p_value: float) -> float:
    """Return a p-value as an e-value."""
    return 0.5 / math.sqrt(max(p_value, _TINY))


def grown(evidence: float, e_value: float) -> float:
    """Return the evidence of an e-detector after one more e-value; it alarms at 1 / alpha."""
    return (evidence + 1.0) * e_value
