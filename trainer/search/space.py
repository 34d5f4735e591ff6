"""What a search may vary, and within which bounds; one table.

Laws:
- one trial is the settings that were asked for, so that a search is never worse than none by
  more than chance;
- the first trials are drawn from the seed alone, the later ones from what the earlier have told.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from shared.errors import UsageError
from shared.samples import Record
from shared.settings import in_words
from trainer.settings import TrainingSettings

Value = str | int | float | bool


class Choice(Record, frozen=True, tag="choice"):
    """One of `values`, in JSON where it is no single value."""

    values: tuple[Value, ...]


class LogRange(Record, frozen=True, tag="log"):
    """A number from `low` to `high`, even in its logarithm."""

    low: float
    high: float


Space = Mapping[str, Choice | LogRange]

DEFAULT: Final[Space] = {
    "batch": Choice(values=(8, 16, 32)),
    "learning_rate": LogRange(low=1e-3, high=6e-3),
    "dropout": Choice(values=(0.0, 0.1, 0.2)),
    "widths": Choice(values=("[16,32,64]", "[16,32,64,128]", "[24,48,96,128]")),
}
"""Measured to matter, and cheap enough to try; the network's kind and the steps stay."""

DRAWN_FIRST: Final = 8
"""So many trials are drawn from the seed alone; the sampler needs some to learn from."""


def drawn(space: Space, base: TrainingSettings, *, count: int) -> list[dict[str, Value]]:
    """Return parameters for the first `count` trials; the very first are those of `base`.

    An empty set of parameters leaves the choice to the sampler.
    """
    random = np.random.default_rng((base.seed, 0x7365617263))
    first = {name: _plain(getattr(base, name)) for name in space if _holds(space[name], base, name)}
    others = [
        {name: _draw(each, random) for name, each in space.items()}
        for _ in range(min(count, DRAWN_FIRST) - 1)
    ]
    left: list[dict[str, Value]] = [{} for _ in range(max(0, count - DRAWN_FIRST))]
    return [first, *others, *left][:count]


def applied(
    base: TrainingSettings, values: Mapping[str, Value], *, source: str = "the search"
) -> TrainingSettings:
    """Return `base` with `values` in place of its own.

    Raises:
        UsageError: a name or a value is none of a setting.
    """
    raw = msgspec.to_builtins(base)
    for name, value in values.items():
        if name not in raw:
            raise UsageError(f"{source}: there is no setting {name!r}: {', '.join(sorted(raw))}")
        raw[name] = _parsed(value) if not isinstance(raw[name], str) else value
    try:
        return msgspec.convert(raw, TrainingSettings)
    except msgspec.ValidationError as error:
        raise UsageError(f"{source}: {in_words(str(error))}") from None


def narrowed(over: Sequence[str]) -> Space:
    """Return the space of `NAME=VALUE,VALUE...` texts; the default one where there are none.

    Raises:
        UsageError: a text is not of that form, or a value is none of the setting.
    """
    if not over:
        return DEFAULT
    space: dict[str, Choice | LogRange] = {}
    for text in over:
        name, sign, values = text.partition("=")
        if not sign or not values:
            raise UsageError(f"--over {text!r}: give NAME=VALUE,VALUE...")
        parsed = tuple(_value(each.strip()) for each in _parts(values))
        for each in parsed:
            applied(TrainingSettings(), {name: each}, source=f"--over {text}")
        space[name] = Choice(values=parsed)
    return space


def _parts(values: str) -> list[str]:
    """Return `values` cut at the commas outside brackets."""
    return values.replace("],[", "]\n[").split("\n") if "[" in values else values.split(",")


def _value(text: str) -> Value:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return found if isinstance(found, int | float | bool) else text


def _parsed(value: Value) -> object:
    if isinstance(value, str):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def _plain(value: object) -> Value:
    return (
        value
        if isinstance(value, str | int | float | bool)
        else msgspec.json.encode(value).decode()
    )


def _holds(within: Choice | LogRange, base: TrainingSettings, name: str) -> bool:
    value = _plain(getattr(base, name))
    if isinstance(within, Choice):
        return value in within.values
    return isinstance(value, float) and within.low <= value <= within.high


def _draw(within: Choice | LogRange, random: np.random.Generator) -> Value:
    if isinstance(within, Choice):
        return within.values[int(random.integers(len(within.values)))]
    return float(np.exp(random.uniform(np.log(within.low), np.log(within.high))))
