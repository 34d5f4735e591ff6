"""What cars sent, what receipts promised, and whether the database keeps it: the rules.

Laws:
- a row whose message was receipted "stored" or "duplicate" is in the database, with the content
  that it was sent with; the car has forgotten it;
- what was once seen stored is seen ever after, receipt or not;
- no key is there twice, and nothing is there that no car sent;
- a stored message is stored whole: all its rows are there, and each row's message is;
- counters and tallies say what the rows say.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from shared.messages import Batch, Receipt
from shared.samples import Sample, content_hash
from tests.chaos.stock import Key, Stock, Tally, TallyKey


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a database; all of it should be 0.

    `lost_pairs` and `lost_others` (pictures, ends of manoeuvres) were promised and are not there;
    `gone` rows were seen once. `torn` counts messages of which a part is missing, and rows without
    a message. `miscounted` counters and `mistallied` tallies differ from what the rows say.
    `unsound` is 1 where SQLite finds the file damaged.
    """

    lost_pairs: int = 0
    lost_others: int = 0
    gone: int = 0
    doubled: int = 0
    altered: int = 0
    unknown: int = 0
    torn: int = 0
    miscounted: int = 0
    mistallied: int = 0
    unsound: int = 0

    def worst(self, other: "Faults") -> "Faults":
        """Return the larger of each."""
        return Faults(**{name: max(mine, its) for name, mine, its in self._beside(other)})

    def plus(self, other: "Faults") -> "Faults":
        """Return the sum of each."""
        return Faults(**{name: mine + its for name, mine, its in self._beside(other)})

    def _beside(self, other: "Faults") -> Iterator[tuple[str, int, int]]:
        mine, its = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        return ((name, mine[name], its[name]) for name in mine)


class _Facts(NamedTuple):
    """What of a sample counts for tallies."""

    manoeuvre: int
    label: float | None
    estimates: tuple[tuple[str, float], ...]


@dataclass
class Promises:
    """All that was sent and promised, over any number of kills.

    `heard` are the digests that a receipt spoke of, `stored` and `duplicates` how many receipts
    said so, `rejected` the reasons of those that said no. `worst` is the worst that `see` found.
    """

    contents: dict[Key, str] = field(default_factory=dict)
    messages: dict[str, tuple[Key, ...]] = field(default_factory=dict)
    promised: set[Key] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    stored: int = 0
    duplicates: int = 0
    rejected: list[str] = field(default_factory=list)
    worst: Faults = field(default_factory=Faults)
    _facts: dict[Key, _Facts] = field(default_factory=dict)
    _seen: set[Key] = field(default_factory=set)

    def send(self, digest: str, batch: Batch) -> None:
        """Note that `batch` is sent, as a message of that digest; again is as good as once."""
        if digest not in self.messages:
            found = dict(_contents(batch))
            self.messages[digest] = tuple(found)
            self.contents |= found
            self._facts |= {_key_of(each): _facts_of(each) for each in batch.samples}

    def hear(self, receipt: Receipt) -> None:
        """Note what a verified receipt says."""
        self.heard.add(receipt.batch)
        if receipt.outcome == "rejected" or receipt.batch not in self.messages:
            self.rejected.append(receipt.reason or "a receipt for what nobody sent")
            return
        self.stored += receipt.outcome == "stored"
        self.duplicates += receipt.outcome == "duplicate"
        self.promised.update(self.messages[receipt.batch])

    def see(self, stock: Stock) -> Faults:
        """Return what is wrong with `stock`, and remember the worst of it and what was there."""
        found = self._judge(stock)
        self.worst = self.worst.worst(found)
        self._seen.update(row.key for row in stock.rows)
        return found

    def _judge(self, stock: Stock) -> Faults:
        times = Counter(row.key for row in stock.rows)
        lost = self.promised - times.keys()
        known = self.contents
        return Faults(
            lost_pairs=sum(key.kind == "sample" for key in lost),
            lost_others=sum(key.kind != "sample" for key in lost),
            gone=len(self._seen - times.keys()),
            doubled=len(stock.rows) - len(times),
            altered=sum(
                row.content != row.found or known.get(row.key, row.content) != row.content
                for row in stock.rows
            ),
            unknown=len(times.keys() - known.keys()) + self._strange_batches(stock),
            torn=self._torn(stock, times),
            miscounted=_differing(stock.counters, stock.rows_counted),
            mistallied=self._mistallied(stock, times),
            unsound=stock.integrity != "ok",
        )

    def _strange_batches(self, stock: Stock) -> int:
        return sum(digest not in self.messages for digest in stock.batches.values())

    def _torn(self, stock: Stock, there: Mapping[Key, int]) -> int:
        parts = sum(
            not all(key in there for key in self.messages.get(digest, ()))
            for digest in stock.batches.values()
        )
        return parts + sum(row.batch not in stock.batches for row in stock.rows)

    def _mistallied(self, stock: Stock, there: Iterable[Key]) -> int:
        facts = self._facts
        expected = tallied((key, facts[key]) for key in there if key in facts)
        wrong = sum(not _agree(tally, stock.tallies.get(key)) for key, tally in expected.items())
        return wrong + len(stock.tallies.keys() - expected.keys())


def tallied(samples: Iterable[tuple[Key, _Facts]]) -> dict[TallyKey, Tally]:
    """Return the tallies of `samples`, each counted as often as it is there."""
    sums: dict[TallyKey, list[float]] = {}
    for key, (manoeuvre, label, estimates) in samples:
        every = (("", None), *estimates)
        for place, (model, value) in enumerate(every):
            of = sums.setdefault(TallyKey(key.device, key.boot, manoeuvre, model), [0, 0, 0, 0, 0])
            of[0] += 1
            of[1] += place == 1
            if label is not None:
                of[2] += 1
                of[3] += label
                of[4] += 0.0 if value is None else abs(value - label)
    return {
        key: Tally(int(of[0]), int(of[1]), int(of[2]), of[3], of[4]) for key, of in sums.items()
    }


def _agree(expected: Tally, found: Tally | None) -> bool:
    if found is None or expected[:3] != found[:3]:
        return False
    # Sums of floats depend on their order.
    return all(
        math.isclose(a, b, abs_tol=1e-6) for a, b in zip(expected[3:], found[3:], strict=True)
    )


def _differing(told: Mapping[str, int], counted: Mapping[str, int]) -> int:
    return sum(told.get(name) != counted.get(name) for name in told.keys() | counted.keys())


def _contents(batch: Batch) -> Iterable[tuple[Key, str]]:
    for sample in batch.samples:
        yield _key_of(sample), content_hash(sample)
    for end in batch.manoeuvres:
        yield Key("manoeuvre", end.device, end.boot, end.manoeuvre), content_hash(end)
    for picture in batch.pictures:
        yield Key("picture", picture.device, picture.boot, picture.sequence), picture.sha256


def _key_of(sample: Sample) -> Key:
    return Key("sample", sample.device, sample.boot, sample.sequence)


def _facts_of(sample: Sample) -> _Facts:
    estimates = tuple((each.model, each.value) for each in sample.estimates)
    return _Facts(sample.manoeuvre, sample.label, estimates)
