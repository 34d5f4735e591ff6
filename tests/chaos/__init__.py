"""What the project promises for bad days, tried out on real processes: `python -m tests.chaos`."""
