"""Parking, measured: its lesson, its trials, its verb."""
