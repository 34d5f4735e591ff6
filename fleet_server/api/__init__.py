"""REST: operator- and device-facing routers over pure rules."""
