"""Tests of fleet_server/cars."""
