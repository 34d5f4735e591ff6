"""How far a run is, as whoever asked for it is told."""

from collections.abc import Callable, Mapping
from typing import Final

from shared.samples import Record

BEGINS: Final[Mapping[str, float]] = {
    "split": 0.0,
    "search": 0.02,
    "fit": 0.05,
    "quantise": 0.9,
    "evaluate": 0.95,
    "manifest": 0.97,
    "gates": 0.98,
    "card": 0.98,
}
"""At which share of a run's time each step begins, roughly."""


class Progress(Record, frozen=True):
    """How far a run is: the stage's name, 0..1 over the whole run, one line for people."""

    stage: str
    fraction: float
    message: str


Tell = Callable[[Progress], None]
"""Is told of progress; what it raises ends the run."""
