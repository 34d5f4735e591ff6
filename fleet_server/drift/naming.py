"""The cause of a change, in words and with its evidence.

Laws:
- a symptom of the sensor comes first: what its labels say then proves nothing about the model;
- one car cannot tell a constant offset of its sensor from a changed relation of picture and label;
  so that verdict is "check the sensor", and no label of it is learned before a person has;
- a cause must have moved, and the added error must lie where it moved;
- what moved without harm is told and no cause of anything.

    sensor symptom  appearance  concept  label  ->  cause                what to do
    yes             any         any      any        sensor-stuck, ...    check the sensor
    no              yes         any      any        covariate-shift      retrain
    no              no          yes      any        concept-or-sensor    check the sensor
                                                    sensor-scaled, where a wrong scale explains it
    no              no          no       yes        label-shift          retrain
    no              no          no       no         unnamed, and after a full window
                                                    model-or-runtime     run the golden pictures

Pictures that look different decide: whether the labels' relation to them changed, too, cannot be
told then. Between concept and label it is decided by where most of the added error lies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from fleet_server.drift import comparison, moves
from fleet_server.drift.comparison import Placed
from fleet_server.drift.families import Tested
from fleet_server.drift.moves import Moved
from fleet_server.drift.norms import cells_of
from fleet_server.drift.reference import Reference
from fleet_server.drift.summaries import Summary

Cause = Literal[
    "label-shift",
    "covariate-shift",
    "concept-or-sensor",
    "sensor-stuck",
    "sensor-noisy",
    "sensor-dropping",
    "sensor-scaled",
    "model-or-runtime",
    "unnamed",
]

MENDED_BY_LEARNING: Final = frozenset({"label-shift", "covariate-shift"})
"""Causes that new data can mend."""

OF_SENSOR: Final = frozenset(
    {"concept-or-sensor", "sensor-stuck", "sensor-noisy", "sensor-dropping", "sensor-scaled"}
)
"""Causes under which a car's labels may be wrong."""

SYMPTOM_CAUSES: Final[dict[str, Cause]] = {
    "stuck": "sensor-stuck",
    "noisy": "sensor-noisy",
    "dropping": "sensor-dropping",
}

PLAIN: Final[dict[Cause, str]] = {
    "sensor-stuck": "the range sensor is stuck: it repeats its label while the car moves",
    "sensor-noisy": "the range sensor is noisy: its labels jump about the way of the car",
    "sensor-dropping": "the range sensor drops out: pictures come without a label",
    "model-or-runtime": (
        "neither pictures nor labels changed: a fault of the model or its runtime; "
        "run the golden pictures again (device selftest)"
    ),
    "unnamed": "its cause is not clear yet",
}

CERTAIN: Final = 0.01
"""The p-value up to which a family counts as moved once there is harm."""

_PLACES: Final = {"appearance": "appearance", "concept": "inside", "label": "label"}
"""The families in the table's order, and the pictures in which each shows."""

_KINDS: Final = ("label", "appearance", "inside")
"""Names of `comparison.LABEL`, `APPEARANCE` and `INSIDE`, in their order."""

_LEAST_SIZES: Final = {"appearance": 3.0}
"""Pooled deviations that count as a move: pictures always differ a little, with the daylight."""

_HALF: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A cause with its evidence."""

    cause: Cause
    words: str
    p_values: dict[str, float | None]
    shares: dict[str, float]
    moved: tuple[Moved, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)

    def evidence(self) -> dict[str, object]:
        """Return the numbers behind the words."""
        return {
            "p_values": self.p_values,
            "shares_of_added_error": self.shares,
            "moved": [
                {
                    "characteristic": each.name,
                    "before": each.before,
                    "now": each.now,
                    "deviations": each.deviations,
                    "share_of_added_error": each.share,
                }
                for each in self.moved
            ],
            **self.numbers,
        }


def name(
    reference: Reference,
    window: Sequence[Summary],
    tested: Mapping[str, Tested],
    *,
    symptoms: Sequence[str] = (),
    is_whole: bool,
) -> Finding:
    """Return the cause of what happened in `window`, beside the reference.

    `symptoms` are those that the sensor shows; `is_whole` says that no more manoeuvres are waited
    for.
    """
    placed = _placed(reference, window)
    shares = _shares(placed)
    p_values = {family: each.p_value for family, each in tested.items()}
    moved = moves.characteristics(reference.norms, placed)
    cause, numbers = _cause(reference, window, tested, shares, symptoms, is_whole=is_whole)
    told = {each: moves.in_words(each, moved, reference, window) for each in _PLACES}
    return Finding(
        cause=cause,
        words=_words(cause, told, shares, numbers),
        p_values=p_values,
        shares=shares,
        moved=tuple(moved[: moves.TOLD]) if _has_moved(tested, "appearance") else (),
        numbers=numbers,
    )


def _placed(reference: Reference, window: Sequence[Summary]) -> list[Placed]:
    return [comparison.placed(reference.norms, cells_of(each)) for each in window]


def _cause(
    reference: Reference,
    window: Sequence[Summary],
    tested: Mapping[str, Tested],
    shares: Mapping[str, float],
    symptoms: Sequence[str],
    *,
    is_whole: bool,
) -> tuple[Cause, dict[str, float]]:
    if symptoms:
        return SYMPTOM_CAUSES[symptoms[0]], {}
    moved = [family for family in _PLACES if _has_moved(tested, family)]
    chosen = _chosen(moved, shares)
    if chosen == "appearance":
        return "covariate-shift", {}
    if chosen == "concept":
        scale = moves.scale(reference, window)
        return (
            ("sensor-scaled", scale)
            if scale
            else (
                "concept-or-sensor",
                {"offset": moves.offset(reference, window)},
            )
        )
    if chosen == "label":
        return "label-shift", {}
    return ("model-or-runtime" if is_whole else "unnamed"), {}


def _chosen(moved: Sequence[str], shares: Mapping[str, float]) -> str | None:
    if "appearance" in moved or not shares:
        return next(iter(moved), None)
    return next((each for each in moved if shares[_PLACES[each]] >= _HALF), None)


def _has_moved(tested: Mapping[str, Tested], family: str) -> bool:
    found = tested.get(family)
    if found is None or found.p_value is None:
        return False
    return found.p_value <= CERTAIN and found.size >= _LEAST_SIZES.get(family, 0.0)


def _shares(window: Sequence[Placed]) -> dict[str, float]:
    """Return which part of the added error lies in which kind of pictures; empty without any."""
    places = np.concatenate([each.place for each in window])
    added = np.concatenate([each.error_beyond for each in window])
    sums = np.bincount(places, weights=added, minlength=len(_KINDS))
    positive = np.maximum(sums, 0.0)
    total = float(positive.sum())
    if not total > 0.0:
        return {}
    return {kind: float(each) / total for kind, each in zip(_KINDS, positive, strict=True)}


def change(
    reference: Reference,
    window: Sequence[Summary],
    tested: Mapping[str, Tested],
    families: Sequence[str],
) -> tuple[str, dict[str, object]]:
    """Return what changed without harm, in words, and the numbers behind them."""
    placed = _placed(reference, window)
    moved = moves.characteristics(reference.norms, placed)
    finding = Finding(
        cause="unnamed",
        words="; ".join([moves.in_words(each, moved, reference, window) for each in families]),
        p_values={family: each.p_value for family, each in tested.items()},
        shares={},
        moved=tuple(moved[: moves.TOLD]) if "appearance" in families else (),
    )
    return finding.words, finding.evidence()


def _words(
    cause: Cause, told: Mapping[str, str], shares: Mapping[str, float], numbers: Mapping[str, float]
) -> str:
    if cause == "sensor-scaled":
        return (
            f"the range sensor is mis-scaled: its labels are {numbers['scale']:.3g} times as long; "
            "a camera that was mounted anew looks alike where the reference knows many floors"
        )
    if cause not in _FAMILY_OF:
        return PLAIN[cause]
    family, place = _FAMILY_OF[cause]
    lies = f"; {shares[place]:.0%} of the added error lies {_WHERE[place]}" if shares else ""
    return f"{cause.replace('-', ' ')}: {told[family]}{lies}{_ADVICE.get(cause, '')}"


_FAMILY_OF: Final = {
    "covariate-shift": ("appearance", "appearance"),
    "label-shift": ("label", "label"),
    "concept-or-sensor": ("concept", "inside"),
}
_WHERE: Final = {
    "appearance": "in pictures like none before",
    "label": "at distances never seen before",
    "inside": "in them",
}
_ADVICE: Final = {
    "concept-or-sensor": (
        "; one car cannot tell concept drift from a wrong sensor: check the sensor, and run the "
        "golden pictures again (device selftest)"
    )
}
