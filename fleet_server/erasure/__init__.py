"""Everything of a car, or of a stretch of time, deleted for good."""
