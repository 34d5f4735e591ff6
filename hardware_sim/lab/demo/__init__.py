"""The demonstration: the whole loop in a few minutes, its live picture and its report."""
