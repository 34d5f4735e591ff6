"""The live picture of the demonstration."""
