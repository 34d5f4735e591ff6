"""Which change was named as which: the confusion of causes, by class.

Laws:
- a verdict that does not hurt names nothing; a phase in which nothing was named was named "none";
- rows are what was truly changed, which only the laboratory knows; columns what the server said.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

CLASSES: Final = ("label", "covariate", "concept-or-sensor", "none")
NAMED: Final = (*CLASSES, "unnamed")
_CLASS_OF: Final = {"label-shift": "label", "covariate-shift": "covariate"}


def class_of(cause: str) -> str:
    """Return the class of a cause that was named."""
    if cause.startswith("sensor-"):
        return "concept-or-sensor"
    return _CLASS_OF.get(cause, cause if cause in CLASSES else "unnamed")


def table(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return how often each class was named as which in the phases `rows`, after the first."""
    counts = {name: Counter[str]() for name in CLASSES}
    for row in rows[1:]:
        counts[row["cause"]].update([class_of(each) for each in row["causes"]] or ["none"])
    return {name: dict(found) for name, found in counts.items()}


def markdown(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| changed | {' | '.join(f'named {name}' for name in NAMED)} |"
    yield f"|---|{'---:|' * len(NAMED)}"
    for row in CLASSES:
        yield f"| {row} | {' | '.join(str(counts[row].get(name, 0)) for name in NAMED)} |"
