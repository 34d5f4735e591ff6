"""Which examples a training takes: the ones asked for, evenly over what there is, no car too loud.

Laws:
- `Query` says what is asked for; an empty list asks for all;
- where there are more than the limit, each stratum (setting, label bin, device) gives in turn, so
  that the thin ones give all they have before the thick ones give more;
- in a set of ten cars or more none has above a tenth of it: one car's sensor must not speak for
  the fleet;
- which examples of a stratum are taken depends on their keys and the seed, not on order.

Nothing here reads a picture.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from shared.ids import Name
from shared.samples import Count, Record
from shared.task import Task
from trainer.data.examples import Example

CARS_OF_A_FLEET = 10
"""From so many devices on, none may have more than one part in so many of a set."""

BINS = 10
"""Bins of equal width over the label's range."""

Stratum = tuple[str, int, str]


class Query(Record, frozen=True):
    """Which stored pairs are asked for: by deployment, by device, by time (UTC, the end excluded).

    Examples of unknown time are outside every bound of time.
    """

    deployments: tuple[Name, ...] = ()
    devices: tuple[Name, ...] = ()
    since_utc_us: Count | None = None
    until_utc_us: Count | None = None

    def admits(self, example: Example) -> bool:
        """Tell whether `example` is asked for."""
        if self.deployments and example.setting not in self.deployments:
            return False
        if self.devices and example.device not in self.devices:
            return False
        if self.since_utc_us is not None and example.utc_us < self.since_utc_us:
            return False
        return self.until_utc_us is None or 0 < example.utc_us < self.until_utc_us


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was taken, ordered by key, and how many were left out for which reason."""

    examples: tuple[Example, ...]
    left_out: Counter[str]


def select(
    candidates: Sequence[Example], task: Task, query: Query, *, most: int, seed: int
) -> Selection:
    """Return at most `most` of the `candidates` that `query` admits."""
    asked = [each for each in candidates if query.admits(each)]
    taken = _ranked(asked, task, seed)[:most]
    allowed = _capped(taken)
    left_out = Counter(
        {
            "not_asked_for": len(candidates) - len(asked),
            "beyond_the_limit": len(asked) - len(taken),
            "device_above_a_tenth": len(taken) - len(allowed),
        }
    )
    ordered = sorted(allowed, key=lambda example: example.key)
    return Selection(examples=tuple(ordered), left_out=+left_out)


def label_bin(label: float, task: Task) -> int:
    """Return the label's bin, 0..BINS-1."""
    return min(BINS - 1, max(0, int((label - task.low) / task.span * BINS)))


def fair_share(counts: Sequence[int]) -> int:
    """Return the most that one of the devices with so many examples each may give.

    The largest number that is at most a tenth of what all then give together; without bound below
    ten devices.
    """
    most = max(counts, default=0)
    if len(counts) < CARS_OF_A_FLEET:
        return most
    while (tenth := sum(min(count, most) for count in counts) // CARS_OF_A_FLEET) < most:
        most = tenth
    return most


def _ranked(examples: Sequence[Example], task: Task, seed: int) -> list[Example]:
    """Return `examples`, the first of each stratum before the second of any."""

    def stratum(each: Example) -> Stratum:
        return (each.setting, label_bin(each.label, task), each.device)

    strata: defaultdict[Hashable, list[Example]] = defaultdict(list)
    for each in sorted(examples, key=lambda each: _drawn(seed, each.key)):
        strata[stratum(each)].append(each)
    ranked = [(rank, at, each) for at in strata for rank, each in enumerate(strata[at])]
    ranked.sort(key=lambda item: (item[0], _drawn(seed, item[2].key)))
    return [each for _, _, each in ranked]


def _capped(ranked: Sequence[Example]) -> list[Example]:
    counts = Counter(each.device for each in ranked)
    most = fair_share(list(counts.values()))
    given: Counter[str] = Counter()
    allowed = []
    for each in ranked:
        given[each.device] += 1
        if given[each.device] <= most:
            allowed.append(each)
    return allowed


def _drawn(seed: int, key: str) -> bytes:
    return sha256(f"{seed}/{key}".encode()).digest()
