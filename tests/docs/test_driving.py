"""Every way in which a manoeuvre can end, and every limit, stands in docs/driving.md."""

import ast
import re
from pathlib import Path

from device.parking import TABLE, Rules

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "driving.md").read_text()


def _words_returned(module: Path, functions: set[str]) -> set[str]:
    """Return the texts that `functions` of `module` return, which are reasons."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name in functions:
            for statement in ast.walk(node):
                if isinstance(statement, ast.Return):
                    constants = (each for each in ast.walk(statement) if type(each) is ast.Constant)
                    found |= {str(each.value) for each in constants if each.value}
    return {word for word in found if re.fullmatch(r"[a-z]+(_[a-z]+)*", word)}


def test_every_reason_is_explained() -> None:
    rules = _words_returned(ROOT / "device" / "parking.py", {"_fault", "_doubt", "_wandering"})
    senses = re.findall(
        r'_fault = "([a-z_]+)"',
        "".join(path.read_text() for path in (ROOT / "device" / "drive").glob("*.py")),
    )
    reasons = rules | set(senses) | {"target", "stop", "overrun", "shutdown"}
    assert {"contradiction", "wandering_wall", "camera_failed", "wheels_failed"} <= reasons
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE} == set()


def test_every_state_is_explained() -> None:
    assert {state for state, _ in TABLE if f"`{state}`" not in PAGE} == set()


def test_the_limits_told_are_those_in_force() -> None:
    rules = Rules()
    for told in (
        f"25 mm/s at the target, {rules.far_speed:.0f} far away",
        f"younger than {rules.frame_age_us // 1000} ms",
        f"younger than {rules.reading_age_us // 1000} ms",
        f"more than {rules.contradiction_mm:.0f} mm plus a tenth",
        f"is above {rules.sigma_mm:.0f} mm",
        f"{rules.wander_mm:.0f} mm plus {rules.wander_share:.0%}".replace("%", " %"),
        f"at most {rules.wander_most_mm:.0f} mm",
        f"it took {rules.manoeuvre_us // 1_000_000} s",
        f"slows the car to {rules.wary_speed:.0f} mm/s",
        f"the wall {rules.near_mm:.0f} mm before the target",
    ):
        assert told in re.sub(r"\s+", " ", PAGE), told
