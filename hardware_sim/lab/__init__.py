"""Experiments: broker, server, trainer and cars as processes, and a report of what happened."""
