"""The gates: what a converted file must be before anybody else hears of it. One table.

| gate | asks |
|---|---|
| quantisation | is the int8 file hardly worse than the float network it was made from? |
| settings | is no setting much worse than with the model in service, on the same pictures? |
| sigma_1, sigma_2 | do one and two sigma cover 68 % and 95 % of the errors? |
| range | can its output say every label that it was judged on? |
| latency, size | does it fit the car's budget? |
| golden | does it bring its answers to the golden pictures, where they are of its size? |

Laws:
- a gate is a pure function of figures; all gates are asked, so that the reason names all that fail;
- what is no number passes no gate;
- every figure is that of held-out manoeuvres, in the runtime that will run the file;
- limits on errors are shares of the task's range, so that they hold for any task: 0.2 mm and 0.5 mm
  of the 350 mm of wall-distance;
- a mean over pictures is known only as well as few manoeuvres let it be: what quantising lost, and
  how far sigma is off, are refused beyond their limit *and* three times their standard error, in
  which sigma's own counts, since few manoeuvres set it, too; that a setting got worse is refused
  beyond its limit alone (see docs/adr/0031).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from shared.samples import Record
from trainer.judging.evaluate import Judgement
from trainer.learning.calibrate import WITHIN_1_SIGMA, WITHIN_2_SIGMA
from trainer.settings import Limits


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is judged: the figures, the task's range and unit, the ends of the labels judged on.

    `golden` tells whether the manifest will bear answers to the golden pictures, None where they
    are of another size than the task's.
    """

    judgement: Judgement
    span: float
    unit: str
    label_low: float
    label_high: float
    golden: bool | None


class Finding(Record, frozen=True):
    """One gate's word: its figure, what it may be, and why it stays shut (empty: it is open)."""

    gate: str
    value: float
    limit: float
    unit: str
    better: Literal["lower", "higher"] = "lower"
    refusal: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether the gate is open."""
        return not self.refusal


Gate = Callable[[Evidence, Limits], Finding]


def ask_all(evidence: Evidence, limits: Limits) -> tuple[Finding, ...]:
    """Return what each gate says, in the table's order."""
    return tuple(gate(evidence, limits) for gate in GATES.values())


def refusal(findings: tuple[Finding, ...]) -> str:
    """Return why a model goes nowhere; empty where it may."""
    return "; ".join(f"{each.gate}: {each.refusal}" for each in findings if each.refusal)


def _quantisation(evidence: Evidence, limits: Limits) -> Finding:
    judged = evidence.judgement
    lost = judged.converted.mae - judged.original.mae
    limit = max(
        limits.quantisation_share * evidence.span, limits.standard_errors * judged.lost_error
    )
    return Finding(
        gate="quantisation",
        value=lost,
        limit=limit,
        unit=evidence.unit,
        refusal=f"int8 is {lost:.2f} {evidence.unit} worse than float, at most {limit:.2f}"
        if not lost <= limit
        else "",
    )


def _settings(evidence: Evidence, limits: Limits) -> Finding:
    judged = evidence.judgement
    before = (
        {each.name: each.mae for each in judged.in_service.settings} if judged.in_service else {}
    )
    now = {each.name: each.mae for each in judged.converted.settings}
    over = {
        name: now[name] - _allowed(mae, evidence, limits)
        for name, mae in before.items()
        if name in now
    }
    worse = {name: excess for name, excess in over.items() if not excess <= 0}
    named = ", ".join(
        f"{name} {before[name]:.2f} to {now[name]:.2f} {evidence.unit}" for name in sorted(worse)
    )
    return Finding(
        gate="settings",
        value=max(over.values(), default=0.0),
        limit=0.0,
        unit=f"{evidence.unit} beyond what it may be worse",
        refusal=f"worse than the model in service: {named}" if worse else "",
    )


def _allowed(mae: float, evidence: Evidence, limits: Limits) -> float:
    return mae + max(
        limits.setting_worse_of_itself * mae, limits.setting_worse_share * evidence.span
    )


def _sigma(sigmas: Literal[1, 2]) -> Gate:
    wanted = WITHIN_1_SIGMA if sigmas == 1 else WITHIN_2_SIGMA

    def gate(evidence: Evidence, limits: Limits) -> Finding:
        judged = evidence.judgement.converted
        share = judged.within_1_sigma if sigmas == 1 else judged.within_2_sigma
        error = math.hypot(
            *(
                each.within_1_error if sigmas == 1 else each.within_2_error
                for each in (judged, evidence.judgement.calibration)
                if each is not None
            )
        )
        off = abs(share - wanted)
        limit = max(limits.coverage_points, limits.standard_errors * error)
        return Finding(
            gate=f"sigma_{sigmas}",
            value=off,
            limit=limit,
            unit="share",
            refusal=f"{sigmas} sigma covers {share:.0%} of the errors instead of {wanted:.0%}, "
            f"{off:.0%} off, at most {limit:.0%} with so many manoeuvres"
            if not off <= limit
            else "",
        )

    return gate


def _range(evidence: Evidence, limits: Limits) -> Finding:
    judged = evidence.judgement
    missing = max(
        judged.value_low - evidence.label_low, evidence.label_high - judged.value_high, 0.0
    )
    limit = limits.unsaid_share * evidence.span
    return Finding(
        gate="range",
        value=missing,
        limit=limit,
        unit=evidence.unit,
        refusal=f"it can say {judged.value_low:.1f} to {judged.value_high:.1f} {evidence.unit}, "
        f"labels go from {evidence.label_low:.1f} to {evidence.label_high:.1f}"
        if not missing <= limit
        else "",
    )


def _latency(evidence: Evidence, limits: Limits) -> Finding:
    took_us = evidence.judgement.latency_us
    return Finding(
        gate="latency",
        value=took_us,
        limit=limits.latency_us,
        unit="us",
        refusal=f"one answer takes {took_us:.0f} us, at most {limits.latency_us:.0f}"
        if not took_us <= limits.latency_us
        else "",
    )


def _size(evidence: Evidence, limits: Limits) -> Finding:
    size = evidence.judgement.size_bytes
    return Finding(
        gate="size",
        value=size,
        limit=limits.size_bytes,
        unit="bytes",
        refusal=f"{size} bytes, at most {limits.size_bytes}" if size > limits.size_bytes else "",
    )


def _golden(evidence: Evidence, _limits: Limits) -> Finding:
    return Finding(
        gate="golden",
        value=1.0 if evidence.golden is not False else 0.0,
        limit=1.0,
        unit="",
        better="higher",
        refusal="its answers to the golden pictures are missing"
        if evidence.golden is False
        else "",
    )


GATES: Final[dict[str, Gate]] = {
    "quantisation": _quantisation,
    "settings": _settings,
    "sigma_1": _sigma(1),
    "sigma_2": _sigma(2),
    "range": _range,
    "latency": _latency,
    "size": _size,
    "golden": _golden,
}
