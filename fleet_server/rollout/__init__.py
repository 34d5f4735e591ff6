"""Which model each deployment has, and which each car is told to run."""
