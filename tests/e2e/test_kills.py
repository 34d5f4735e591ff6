"""Drive and agent killed at random, five times; `make chaos` does it two hundred times."""

import pytest

from hardware_sim.lab.fleet import Fleet
from shared.clock import SystemClock
from tests.chaos.kills import VICTIMS, Killing, prepare
from tests.chaos.kills_report import checks

pytestmark = pytest.mark.e2e

_SEED = 21


def test_drive_and_agent_killed_at_random_lose_nothing_and_double_nothing(fleet: Fleet) -> None:
    killing = Killing(fleet, prepare(fleet), seed=_SEED, clock=SystemClock())
    found = killing.run(5)
    assert {each.victim for each in found.kills} == set(VICTIMS)
    assert [each for each in checks(found) if not each.met] == []
