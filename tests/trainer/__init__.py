"""The trainer's promises."""
