"""The world of the agent's tests, for those of the update that need a whole car."""

from tests.device.agent.conftest import clock, fleet, new_fleet

__all__ = ["clock", "fleet", "new_fleet"]
