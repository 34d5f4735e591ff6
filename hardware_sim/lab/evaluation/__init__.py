"""The reference evaluation: changes driven through the real path, and what must not be learned."""
