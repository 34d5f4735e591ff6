"""Tests of fleet_server/telling."""
