"""When a model is trained, on which pairs, by whom, and what became of it."""
