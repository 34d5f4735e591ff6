"""Whole processes over real sockets, started as a person would start them."""
