"""Tests of fleet_server/rollout."""
