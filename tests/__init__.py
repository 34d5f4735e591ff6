"""Tests mirror the packages; `e2e` starts real processes over real sockets."""
