"""What became of all that any number of journals committed: each beside the server's database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.chaos import stock
from tests.chaos.ledger import Key, Ledger, Manoeuvre, Stored, read


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What became of what was committed; all but `pairs` and `pictures` should be 0.

    The names are those of `ledger.Verdict` and `ledger.Ledger`; `unsound` counts journals and the
    server's database, `refused` the messages that the server put aside.
    """

    pairs: int = 0
    pictures: int = 0
    lost: int = 0
    doubled: int = 0
    altered: int = 0
    unknown: int = 0
    bare: int = 0
    endless: int = 0
    unsound: int = 0
    refused: int = 0

    def plus(self, other: "Found") -> "Found":
        """Return the sum of each."""
        mine, its = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        return Found(**{name: mine[name] + its[name] for name in mine})

    @property
    def wrong(self) -> dict[str, int]:
        """What should be 0, in words."""
        return {
            "committed pairs lost": self.lost,
            "pairs doubled": self.doubled,
            "pairs altered, or never committed": self.altered + self.unknown,
            "pictures and ends of manoeuvres lost": self.bare + self.endless,
            "journals and databases found unsound": self.unsound,
        }


@dataclass
class _Held:
    """What the server has of one car."""

    samples: list[tuple[Key, str]] = field(default_factory=list)
    pictures: set[Key] = field(default_factory=set)
    ends: list[Manoeuvre] = field(default_factory=list)


def judge(journals: Mapping[str, Path], database: Path, *, refused: int = 0) -> Found:
    """Return what became of what `journals`, by their cars' names, committed."""
    now = stock.read(database)
    held = {name: _Held() for name in journals}
    for row in now.rows:
        kind, device, boot, number = row.key
        of = held.setdefault(device, _Held())
        if kind == "sample":
            of.samples.append((Key(boot, number), row.found))
        elif kind == "picture":
            of.pictures.add(Key(boot, number))
        else:
            of.ends.append((boot, number))
    found = Found(unsound=now.integrity != "ok", refused=refused)
    for name, path in journals.items():
        found = found.plus(_of_car(path, held[name]))
    return found


def _of_car(path: Path, held: _Held) -> Found:
    ledger = Ledger()
    ledger.see(read(path))
    stored = [
        Stored(key=key, content_hash=content, has_picture=key in held.pictures)
        for key, content in held.samples
    ]
    verdict = ledger.judge(stored, held.ends)
    return Found(
        pairs=verdict.pairs,
        pictures=verdict.pictures,
        lost=verdict.lost + ledger.missing,
        doubled=verdict.doubled,
        altered=verdict.altered,
        unknown=verdict.unknown,
        bare=verdict.bare,
        endless=verdict.endless,
        unsound=len(ledger.unsound),
    )
