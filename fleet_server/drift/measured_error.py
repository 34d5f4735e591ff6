"""The measured error of a model against the reference sensor, and the rule that says it has risen.

Laws:
- the unit is the manoeuvre: 25 pictures of one manoeuvre are not 25 samples;
- a model is compared with itself: with its own error over its first manoeuvres in the field, and
  with that on its test set until there are enough of them;
- first manoeuvres that are bad already are no reference;
- the same manoeuvres in the same order give the same answer, whenever it is asked for.

The rule, for one model in one deployment: over the last `window` manoeuvres of any one car, the
median of the manoeuvres' mean absolute errors is above `factor` times the reference and above the
reference plus `margin`. It is a coarse rule without a guaranteed rate of false alarms, and it names
no cause.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

KIND = "measured-error-risen"


@dataclass(frozen=True, kw_only=True)
class ManoeuvreError:
    """One closed manoeuvre's mean |estimate - label|, in the label's unit.

    `id` orders manoeuvres by receipt; `since_sample` is a row id that none of its samples is below.
    """

    id: int
    device: str
    mae: float
    since_sample: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The rule's numbers; `margin` in the label's unit, the others in manoeuvres or bare."""

    factor: float = 2.0
    margin: float = 5.0
    window: int = 3
    reference_manoeuvres: int = 5

    def limit(self, reference: float) -> float:
        """Return the error above which a median has risen."""
        return max(self.factor * reference, reference + self.margin)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a model's error is compared with, and where that came from."""

    mae: float
    origin: Literal["field", "test"]


@dataclass(frozen=True, kw_only=True)
class Rise:
    """The error has risen: where, by how much, since when."""

    device: str
    median: float
    limit: float
    reference: Reference
    window: tuple[float, ...]
    since_manoeuvre: int
    since_sample: int

    def reason(self, unit: str) -> str:
        """Return the finding as a sentence."""
        return (
            f"measured error risen on {self.device}: median {self.median:.1f} {unit} over "
            f"{len(self.window)} manoeuvres, limit {self.limit:.1f} {unit} "
            f"({self.reference.origin} reference {self.reference.mae:.1f} {unit})"
        )

    def evidence(self) -> dict[str, object]:
        """Return the numbers behind it."""
        return {
            "device": self.device,
            "median": self.median,
            "limit": self.limit,
            "reference": self.reference.mae,
            "reference_origin": self.reference.origin,
            "window": list(self.window),
            "since_manoeuvre": self.since_manoeuvre,
        }


def field_reference(
    errors: Sequence[ManoeuvreError], test: Reference, rule: Rule
) -> Reference | None:
    """Return the model's own error in the field from its first manoeuvres, in order of receipt.

    None where there are too few, or where they are bad already by the error on the test set.
    """
    first = [each.mae for each in errors[: rule.reference_manoeuvres]]
    if len(first) < rule.reference_manoeuvres:
        return None
    mae = median(first)
    return None if mae > rule.limit(test.mae) else Reference(mae=mae, origin="field")


def rise(errors: Sequence[ManoeuvreError], reference: Reference, rule: Rule) -> Rise | None:
    """Return the first rise of the error in `errors`, in order of receipt, or None."""
    limit = rule.limit(reference.mae)
    windows: dict[str, deque[ManoeuvreError]] = {}
    for each in errors:
        window = windows.setdefault(each.device, deque(maxlen=rule.window))
        window.append(each)
        found = median(one.mae for one in window)
        if len(window) < rule.window or found <= limit:
            continue
        began = next(one for one in window if one.mae > limit)
        return Rise(
            device=each.device,
            median=found,
            limit=limit,
            reference=reference,
            window=tuple(one.mae for one in window),
            since_manoeuvre=began.id,
            since_sample=began.since_sample,
        )
    return None
