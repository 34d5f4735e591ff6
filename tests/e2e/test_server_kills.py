"""The server killed while it takes in batches, five times; `make chaos` does it 250 times."""

from pathlib import Path

import pytest

from shared.clock import SystemClock
from tests.chaos.server_kills import has_mosquitto
from tests.chaos.server_kills_report import Plan, checks, in_lanes

pytestmark = pytest.mark.e2e

_SEED = 3


def test_a_server_killed_during_ingest_loses_nothing_it_receipted_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    lanes: Plan = [("alone", 5), ("pair", 2)] if has_mosquitto() else [("alone", 5)]
    found = in_lanes(lanes, tmp_path, seed=_SEED, clock=SystemClock())
    assert [len(each.kills) for each in found] == [cycles for _, cycles in lanes]
    assert [each for each in checks(found) if not each.met] == []
