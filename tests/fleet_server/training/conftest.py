"""What the rooms of REST have, for tests that go through it."""

from tests.fleet_server.api.conftest import releases

__all__ = ["releases"]
