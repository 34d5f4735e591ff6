"""What is measured, not tested: figures for out/bench; absolute times are never asserted."""
