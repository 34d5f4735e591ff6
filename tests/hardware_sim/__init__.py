"""The laboratory: its world, its instruments under the real drivers, its person."""
