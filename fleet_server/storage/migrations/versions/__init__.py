"""The steps; `v0001` is the first."""
