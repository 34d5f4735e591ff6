"""The three parts of a data set: trained on, chosen by, and judged by.

Laws:
- pictures of one manoeuvre look alike, so a split never cuts one in two;
- every setting with three manoeuvres or more has some in each part, and so has the whole;
- manoeuvres are held out along each car's time, so that a part spans cars and time;
- growth changes nothing: a manoeuvre that was held out for judging stays so as later ones come, so
  that a model in service can be judged on pictures that it never saw either (see docs/adr/0030);
- what is chosen by has its whole share, however few there are: two manoeuvres choose badly.

Each stream (a setting's manoeuvres by one device, in order) is cut into blocks of 1/share, and the
seed draws one place of each block; in a block that is not full yet the place may still be empty.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from trainer.data.dataset import Dataset, Indices


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts; together every row once."""

    train: Indices
    validation: Indices
    test: Indices

    def parts(self) -> Mapping[str, Indices]:
        """Return the parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True, kw_only=True)
class _Manoeuvre:
    name: str
    setting: str
    device: str


def split(
    dataset: Dataset, *, seed: int, validation_share: float = 0.12, test_share: float = 0.15
) -> Split:
    """Return `dataset` split by manoeuvre; at least five manoeuvres are needed."""
    manoeuvres = _manoeuvres(dataset)
    test = _held_out(manoeuvres, test_share, f"{seed}/test", others=2, least=test_share / 2)
    rest = [each for each in manoeuvres if each.name not in test]
    of_rest = validation_share / (1 - test_share)
    validation = _held_out(rest, of_rest, f"{seed}/validation", others=1, least=of_rest)
    part_of = np.asarray(
        [2 if name in test else 1 if name in validation else 0 for name in dataset.manoeuvre_names]
    )[dataset.manoeuvres]
    return Split(*(np.flatnonzero(part_of == part).astype(np.int64) for part in range(3)))


def _manoeuvres(dataset: Dataset) -> list[_Manoeuvre]:
    _, first = np.unique(dataset.manoeuvres, return_index=True)
    return [
        _Manoeuvre(
            name=dataset.manoeuvre_names[dataset.manoeuvres[row]],
            setting=dataset.setting_names[dataset.settings[row]],
            device=dataset.device_names[dataset.devices[row]],
        )
        for row in first
    ]


def _held_out(
    manoeuvres: Sequence[_Manoeuvre], share: float, word: str, *, others: int, least: float
) -> set[str]:
    """Return the names of those held out: about `share` of all, and `least` of each setting.

    `others` manoeuvres of each setting are left for the other parts.
    """
    streams: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    settings: defaultdict[str, list[str]] = defaultdict(list)
    for each in manoeuvres:
        streams[each.setting, each.device].append(each.name)
        settings[each.setting].append(each.name)
    drawn = {
        name
        for stream, names in streams.items()
        for name in _one_of_each_block(names, share, f"{word}/{'/'.join(stream)}")
    }
    held = {
        name
        for names in settings.values()
        for name in _enough(names, drawn, least, word, most=len(names) - others)
    }
    names = [each.name for each in manoeuvres]
    return held or _enough(names, drawn, least, word, most=len(names) - others)


def _one_of_each_block(names: Sequence[str], share: float, word: str) -> list[str]:
    block = max(2, round(1 / share))
    places = [at + _number(f"{word}/{at}") % block for at in range(0, len(names), block)]
    return [names[place] for place in places if place < len(names)]


def _enough(
    names: Sequence[str], drawn: set[str], share: float, word: str, *, most: int
) -> set[str]:
    """Return those `drawn` of `names`, and others, so that it is `share` of them and one at least.

    At most `most`; where there are few, chance would else hold out all or none.
    """
    least = max(1, round(share * len(names)))
    ordered = sorted(names, key=lambda name: (name not in drawn, _number(f"{word}/{name}")))
    count = sum(name in drawn for name in names)
    return set(ordered[: max(0, min(most, max(least, count)))])


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
