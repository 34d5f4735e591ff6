"""Tests of fleet_server/drift."""
