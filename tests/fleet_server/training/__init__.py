"""Tests of fleet_server/training."""
