"""The laboratory's own parts, without the processes it starts."""
