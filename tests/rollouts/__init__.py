"""Rollouts through a real server and a real broker, by simulated cars with real agents."""
