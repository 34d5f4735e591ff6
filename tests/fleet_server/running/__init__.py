"""Tests of fleet_server/running."""
