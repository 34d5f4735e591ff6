"""A world in a process of its own, and the instruments of a car that is in another one."""
