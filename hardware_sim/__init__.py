"""A laboratory: simulated instruments under the vendors' own drivers, in one seeded world."""
