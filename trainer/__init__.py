"""From stored pairs to a signed int8 file whose origin anyone can trace."""
