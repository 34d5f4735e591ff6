"""The driving process: frame -> estimate -> parking states -> wheels; reaches no network."""
