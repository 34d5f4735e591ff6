"""What a car's journal ever committed, and whether it is still there: the rules, without processes.

Laws:
- what was seen committed once must be seen ever after, with the same content, but for what the
  journal's own counters say was given up;
- the journal's counters and its rows tell the same number of pairs;
- a boot's pairs are numbered without a hole: a kill may cost the last ones, which were never
  committed, and none before them;
- at the end the server holds each pair that the journal ever committed once, and nothing else, and
  the end of each manoeuvre that had any.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

Manoeuvre = tuple[str, int]
"""A manoeuvre's identity within one car: its boot and its number."""


class Key(NamedTuple):
    """A pair's identity within one car."""

    boot: str
    sequence: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A journal at one instant, as another process reads it.

    `manoeuvres` are those that have pairs. `integrity` is SQLite's own verdict, "ok" where all is
    well. `waiting` pairs are not sent, `rows_left` rows of any kind. `is_moving` tells that the
    newest manoeuvre has pairs and no end.
    """

    hashes: Mapping[Key, str]
    pictures: frozenset[Key]
    manoeuvres: frozenset[Manoeuvre]
    counters: Mapping[str, int]
    waiting: int
    rows_left: int
    is_moving: bool
    integrity: str

    @property
    def given_up(self) -> int:
        """How many pairs went for want of room, by the journal's own count."""
        names = ("pairs_discarded", "dropped_crowded", "dropped_valuable", "dropped_flagged")
        return sum(self.counters.get(name, 0) for name in names)

    @property
    def miscounted(self) -> int:
        """By how much the journal's counters and its rows differ."""
        return abs(self.counters.get("pairs_logged", 0) - self.given_up - len(self.hashes))


def read(path: Path) -> Snapshot:
    """Return the journal at `path` as it is now; an empty one where there is none yet."""
    if not path.exists():
        return Snapshot(
            hashes={},
            pictures=frozenset(),
            manoeuvres=frozenset(),
            counters={},
            waiting=0,
            rows_left=0,
            is_moving=False,
            integrity="ok",
        )
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10.0, isolation_level=None)) as db:
        db.execute("BEGIN")
        rows = db.execute("SELECT boot, sequence, content_hash FROM samples").fetchall()
        return Snapshot(
            hashes={Key(boot, sequence): digest for boot, sequence, digest in rows},
            pictures=frozenset(
                Key(*row) for row in db.execute("SELECT boot, sequence FROM pictures")
            ),
            manoeuvres=frozenset(db.execute("SELECT DISTINCT boot, manoeuvre FROM samples")),
            counters=dict(db.execute("SELECT name, value FROM counters")),
            waiting=_one(db, "SELECT count(*) FROM samples WHERE sent = 0"),
            rows_left=_one(db, _LEFT),
            is_moving=bool(_one(db, _UNENDED)),
            integrity=str(_one(db, "PRAGMA integrity_check")),
        )


_LEFT = """
SELECT (SELECT count(*) FROM samples WHERE sent = 0)
+ (SELECT count(*) FROM pictures WHERE sent = 0) + (SELECT count(*) FROM manoeuvres WHERE sent = 0)
"""

_UNENDED = """
SELECT count(*) FROM (SELECT boot, manoeuvre FROM samples ORDER BY boot DESC, sequence DESC LIMIT 1)
AS newest WHERE NOT EXISTS (SELECT 1 FROM manoeuvres AS m
WHERE m.boot = newest.boot AND m.manoeuvre = newest.manoeuvre)
"""


def _one(db: sqlite3.Connection, sql: str) -> int:
    found: int = db.execute(sql).fetchone()[0]
    return found


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One pair on the server."""

    key: Key
    content_hash: str
    has_picture: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the server holds beside what the journal committed; all but `pairs` should be 0.

    `pairs` and `pictures` were committed; the others count pairs: `lost` were committed and are not
    on the server, `doubled` are there more than once, `altered` with another content, `unknown`
    were never committed, `bare` arrived without the picture that they were committed with.
    `endless` manoeuvres have pairs, and no end on the server.
    """

    pairs: int
    pictures: int
    lost: int
    doubled: int
    altered: int
    unknown: int
    bare: int
    endless: int


@dataclass
class Ledger:
    """All that was ever seen committed, and all that went wrong with it on the car.

    `missing` pairs were gone without having been counted; `altered` came back with other content;
    `unsound` are the verdicts other than "ok"; `miscounted` is the largest difference ever seen.
    """

    hashes: dict[Key, str] = field(default_factory=dict)
    pictures: set[Key] = field(default_factory=set)
    manoeuvres: set[Manoeuvre] = field(default_factory=set)
    missing: int = 0
    altered: int = 0
    miscounted: int = 0
    unsound: list[str] = field(default_factory=list)

    def see(self, now: Snapshot) -> None:
        """Compare `now` with all that was seen before, and remember it."""
        gone = len(self.hashes.keys() - now.hashes.keys())
        self.missing = max(self.missing, gone - now.given_up)
        known = self.hashes
        self.altered += sum(known.get(key, digest) != digest for key, digest in now.hashes.items())
        self.miscounted = max(self.miscounted, now.miscounted)
        if now.integrity != "ok":
            self.unsound.append(now.integrity)
        self.hashes |= now.hashes
        self.pictures |= now.pictures
        self.manoeuvres |= now.manoeuvres

    @property
    def holes(self) -> int:
        """How many numbers are missing within a boot, below the highest one seen."""
        highest: dict[str, int] = {}
        for boot, sequence in self.hashes:
            highest[boot] = max(highest.get(boot, -1), sequence)
        return sum(last + 1 for last in highest.values()) - len(self.hashes)

    def judge(self, stored: Iterable[Stored], ended: Iterable[Manoeuvre]) -> Verdict:
        """Return what `stored` and `ended`, all that the server has of this car, are worth."""
        every = list(stored)
        times = Counter(each.key for each in every)
        known = self.hashes
        return Verdict(
            pairs=len(known),
            pictures=len(self.pictures),
            lost=len(known.keys() - times.keys()),
            doubled=sum(count - 1 for count in times.values()),
            altered=sum(
                known.get(each.key, each.content_hash) != each.content_hash for each in every
            ),
            unknown=len(times.keys() - known.keys()),
            bare=sum(each.key in self.pictures and not each.has_picture for each in every),
            endless=len(self.manoeuvres - set(ended)),
        )
