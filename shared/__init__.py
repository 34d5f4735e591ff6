"""The contract between machines: what a car, the fleet server and a trainer agree on.

Imports none of our other packages and stays light, since every car carries it.
"""

__version__ = "0.1.0"
