"""What a converted file must be before anybody else hears of it."""

import math

import msgspec
import pytest

from trainer.judging.evaluate import Evaluation, Judgement, Slice
from trainer.judging.gates import GATES, Evidence, ask_all, refusal
from trainer.settings import Limits

_SPAN = 350.0


def _evaluation(
    mae: float = 3.0,
    *,
    within: tuple[float, float] = (0.68, 0.95),
    error: tuple[float, float] = (0.0, 0.0),
    settings: dict[str, float] | None = None,
) -> Evaluation:
    slices = tuple(
        Slice(name=name, pictures=50, mae=each, bias=0.0, within_1_sigma=0.7, within_2_sigma=0.95)
        for name, each in (settings or {"beige": mae}).items()
    )
    return Evaluation(
        pictures=100,
        manoeuvres=4,
        mae=mae,
        p95=9.0,
        bias=0.0,
        within_1_sigma=within[0],
        within_2_sigma=within[1],
        within_1_error=error[0],
        within_2_error=error[1],
        bins=(),
        settings=slices,
        devices=(),
    )


def _evidence(
    converted: Evaluation | None = None,
    *,
    original: Evaluation | None = None,
    in_service: Evaluation | None = None,
    calibration: Evaluation | None = None,
    golden: bool | None = True,
    **figures: float,
) -> Evidence:
    told = {
        "lost_error": 0.0,
        "baseline_mae": 20.0,
        "latency_us": 300.0,
        "size_bytes": 180_000,
        "value_low": -3.0,
        "value_high": 354.0,
        **figures,
    }
    judged = msgspec.convert(
        {
            **told,
            "converted": msgspec.to_builtins(converted or _evaluation()),
            "original": msgspec.to_builtins(original or _evaluation()),
            "in_service": msgspec.to_builtins(in_service),
            "calibration": msgspec.to_builtins(calibration),
        },
        Judgement,
    )
    return Evidence(
        judgement=judged, span=_SPAN, unit="mm", label_low=20.0, label_high=349.0, golden=golden
    )


def _shut(evidence: Evidence) -> set[str]:
    return {each.gate for each in ask_all(evidence, Limits()) if not each.passed}


def test_a_good_file_passes_every_gate_and_each_was_asked() -> None:
    findings = ask_all(_evidence(), Limits())
    assert [each.gate for each in findings] == list(GATES)
    assert refusal(findings) == ""


@pytest.mark.parametrize(
    ("evidence", "gate"),
    [
        (_evidence(_evaluation(3.21), original=_evaluation(3.0)), "quantisation"),
        (_evidence(_evaluation(math.nan)), "quantisation"),
        (_evidence(_evaluation(within=(0.62, 0.95))), "sigma_1"),
        (_evidence(_evaluation(within=(0.74, 0.95))), "sigma_1"),
        (_evidence(_evaluation(within=(0.68, 0.90))), "sigma_2"),
        (_evidence(value_high=310.0), "range"),
        (_evidence(value_low=60.0), "range"),
        (_evidence(latency_us=5_001.0), "latency"),
        (_evidence(size_bytes=2 * 1024 * 1024 + 1), "size"),
        (_evidence(golden=False), "golden"),
    ],
)
def test_each_gate_shuts_on_its_own_figure(evidence: Evidence, gate: str) -> None:
    assert _shut(evidence) == {gate}


@pytest.mark.parametrize(
    "evidence",
    [
        _evidence(_evaluation(3.19), original=_evaluation(3.0)),
        _evidence(_evaluation(within=(0.64, 0.91))),
        _evidence(_evaluation(within=(0.55, 0.95), error=(0.07, 0.0))),
        _evidence(
            _evaluation(within=(0.60, 0.95), error=(0.02, 0.0)),
            calibration=_evaluation(error=(0.03, 0.0)),
        ),
        _evidence(_evaluation(3.5), original=_evaluation(3.0), lost_error=0.3),
        _evidence(golden=None),
        _evidence(latency_us=5_000.0, size_bytes=2 * 1024 * 1024),
    ],
)
def test_what_is_within_its_limit_passes(evidence: Evidence) -> None:
    assert _shut(evidence) == set()


@pytest.mark.parametrize(
    ("before", "now", "shut"),
    [
        ({"beige": 3.0}, {"beige": 3.5}, False),  # half a millimetre
        ({"beige": 3.0}, {"beige": 3.6}, True),
        ({"beige": 10.0}, {"beige": 10.9}, False),  # a tenth of itself
        ({"beige": 10.0}, {"beige": 11.1}, True),
        ({"beige": 3.0, "green": 20.0}, {"beige": 4.0, "green": 2.0}, True),  # one is enough
        ({"beige": 3.0}, {"beige": 3.0, "green": 40.0}, False),  # a new one has no before
    ],
)
def test_no_old_setting_may_get_much_worse(
    before: dict[str, float], now: dict[str, float], shut: bool
) -> None:
    evidence = _evidence(_evaluation(settings=now), in_service=_evaluation(settings=before))
    assert (_shut(evidence) == {"settings"}) is shut


def test_the_reason_names_every_gate_that_is_shut() -> None:
    evidence = _evidence(
        _evaluation(4.0, within=(0.4, 0.95), settings={"beige": 4.0}),
        in_service=_evaluation(settings={"beige": 3.0}),
    )
    said = refusal(ask_all(evidence, Limits()))
    assert "quantisation: int8 is 1.00 mm worse than float" in said
    assert "beige 3.00 to 4.00 mm" in said
    assert "sigma_1: 1 sigma covers 40% of the errors instead of 68%" in said


def test_limits_on_errors_follow_the_tasks_range() -> None:
    wide = msgspec.structs.replace  # a span of metres allows more millimetres
    evidence = _evidence(_evaluation(31.0), original=_evaluation(30.0))
    assert _shut(evidence) == {"quantisation"}
    metres = Evidence(
        judgement=wide(evidence.judgement, value_high=4_010.0),
        span=4_000.0,
        unit="mm",
        label_low=20.0,
        label_high=3_900.0,
        golden=None,
    )
    assert _shut(metres) == set()
