"""What each page shows, as pure functions from what was read to `nodes`."""
