"""Tests of fleet_server/reading."""
