"""Tests of fleet_server/ingest."""
