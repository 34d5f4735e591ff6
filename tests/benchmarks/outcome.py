"""What a benchmark prints: one JSON object with `checks`, `curves`, and whatever else it tells."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click
import msgspec

from hardware_sim.lab.report import Check
from tests.benchmarks.scaling import Curve


def tell(
    checks: Sequence[Check], told: Mapping[str, Any], curves: Sequence[Curve] = ()
) -> NoReturn:
    """Print the figures and end, with exit code 1 where one misses its limit."""
    body = {
        "checks": [each.as_dict() for each in checks],
        "curves": [each.as_dict() for each in curves],
        **told,
    }
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(each.met for each in checks) else 1)


def at_most(name: str, value: float, limit: float, unit: str = "times") -> Check:
    """Return the check that `value` is at most `limit`."""
    return Check(name=name, value=round(value, 3), unit=unit, limit=limit, better="lower")


def at_least(name: str, value: float, limit: float, unit: str = "times") -> Check:
    """Return the check that `value` is at least `limit`."""
    return Check(name=name, value=round(value, 3), unit=unit, limit=limit, better="higher")
