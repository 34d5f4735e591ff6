"""Experiments: broker, server, trainer and cars as processes, and a report of what happened.

Here lies what every experiment needs; each experiment is a room of its own.
"""
