"""Rules that see that the world changed and say what changed."""
