"""Tests of the broker's room."""
