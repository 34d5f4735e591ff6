"""Which pictures to ask of cars, where not all are sent: those that teach. Pure rules.

Laws:
- a random share of what is asked for is drawn from all there are, so that statistics over what was
  sent stay honest;
- the rest fills the thinnest stretches of the range first; within one, what the reference does not
  know comes before what it knows, then the higher residual;
- the same candidates and seed give the same choice.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RANDOM_SHARE: Final = 0.1
LONGEST: Final = 200
MOST_BOOTS: Final = 16
"""What `shared.messages.Texts` takes, in characters a boot and in boots."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A labelled sample whose picture is still on its car.

    `stretch` is that of its label (`drift.summaries`), `residual` |estimate - label|, 0 where
    nothing was estimated; `is_outside` tells that the model's reference knows no such picture.
    """

    device: str
    boot: str
    sequence: int
    stretch: int
    residual: float
    is_outside: bool


def choose(
    candidates: Sequence[Candidate], wanted: int, *, held: Counter[int], seed: int
) -> list[Candidate]:
    """Return at most `wanted` of `candidates`; `held` counts the pairs at hand by stretch."""
    rng = random.Random(seed)  # noqa: S311 - a draw, no secret
    at_random = min(len(candidates), math.ceil(wanted * RANDOM_SHARE))
    chosen = rng.sample(list(candidates), at_random)
    counts = Counter(held)
    counts.update(each.stretch for each in chosen)
    taken = {_key(each) for each in chosen}
    waiting: dict[int, list[Candidate]] = {}
    for each in sorted(candidates, key=_worth):
        if _key(each) not in taken:
            waiting.setdefault(each.stretch, []).append(each)
    while waiting and len(chosen) < wanted:
        thinnest = min(waiting, key=lambda stretch: (counts[stretch], stretch))
        chosen.append(waiting[thinnest].pop())
        counts[thinnest] += 1
        if not waiting[thinnest]:
            del waiting[thinnest]
    return chosen


def spans(chosen: Sequence[Candidate]) -> dict[str, str]:
    """Return sequences by boot as the order `pictures` names them, such as "3,7,10-20".

    Those of `chosen` that an order has no room for are left out, the last ones first.
    """
    by_boot: dict[str, list[int]] = {}
    for each in chosen:
        held = by_boot.get(each.boot, [])
        if len(by_boot) == MOST_BOOTS and not held:
            continue
        more = sorted({*held, each.sequence})
        if len(",".join(_runs(more))) <= LONGEST:
            by_boot[each.boot] = more
    return {boot: ",".join(_runs(found)) for boot, found in by_boot.items()}


def _runs(numbers: Sequence[int]) -> list[str]:
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]


def _worth(each: Candidate) -> tuple[bool, float, str, str, int]:
    return each.is_outside, each.residual, *_key(each)


def _key(each: Candidate) -> tuple[str, str, int]:
    return each.device, each.boot, each.sequence
