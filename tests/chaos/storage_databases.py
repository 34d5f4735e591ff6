"""SQLite on a disk that fails: the car's journal, and the server's database.

Laws:
- a disk fails for some operations in a row, in one way, and works again; who is told that something
  was not stored (`RetryLaterError`) does it again later;
- what was reported as stored is there at the end, once; what was refused is there whole or not at
  all; nothing else than `RetryLaterError` comes of a bad disk.
"""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from device.journal import Journal
from device.sync_rows import batch_of
from fleet_server.ingest.taking import Ingest
from fleet_server.storage.database import Database
from shared.errors import RetryLaterError
from shared.ids import sha256_hex
from shared.topics import BATCH
from tests.chaos import ledger, stock
from tests.chaos.cars import manoeuvres
from tests.chaos.disk import Disk, Kind, never, watched
from tests.chaos.power_databases import append
from tests.chaos.promises import Promises
from tests.fleet_server.fleet import Fleet

_CAR: Final = "car-1"
_MOST_TRIES: Final = 60
_LONGEST: Final = 40

Tell = Callable[[], None]

FAULTS: Final[dict[str, tuple[Kind, int]]] = {
    "disk full": ("write", sqlite3.SQLITE_FULL),
    "read-only": ("write", sqlite3.SQLITE_READONLY),
    "write error": ("write", sqlite3.SQLITE_IOERR_WRITE),
    "flush error": ("flush", sqlite3.SQLITE_IOERR_FSYNC),
}


class Failed(msgspec.Struct, kw_only=True):
    """What was found on one kind of bad disk; all but the first four should be 0.

    `refused`: times that somebody was told to come again.
    """

    what: str
    fault: str
    operations: int = 0
    refused: int = 0
    lost: int = 0
    doubled: int = 0
    unsound: int = 0
    crashes: int = 0


class _Bad:
    """Fails operations of one kind, in rows of random length."""

    def __init__(self, fault: str, rng: random.Random) -> None:
        self._kind, self._code = FAULTS[fault]
        self._rng, self._left = rng, 0

    def __call__(self, kind: Kind, _path: str) -> int:
        if kind != self._kind:
            return sqlite3.SQLITE_OK
        if self._left == 0:
            # As often well as ill.
            self._left = self._rng.choice((1, -1)) * self._rng.randint(1, _LONGEST)
        self._left += -1 if self._left > 0 else 1
        return self._code if self._left > 0 else sqlite3.SQLITE_OK


def journal(folder: Path, fault: str, times: int, rng: random.Random, tell: Tell) -> Failed:
    """Commit `times` manoeuvres to a journal on a bad disk."""
    folder.mkdir(parents=True)
    path = folder / "journal.sqlite"
    found = Failed(what="the car's journal", fault=fault)
    road = manoeuvres(_CAR, rng)
    known = ledger.Ledger()
    with watched(folder) as disk:
        opened = Journal.open(path)
        for _ in range(times):
            rows = next(road)
            disk.fails = _Bad(fault, rng)
            _insist(lambda: append(opened, rows), disk, found)  # noqa: B023 - done before the next
            disk.fails = never
            known.see(ledger.read(path))
            tell()
        opened.close()
    found.operations = disk.failed
    found.lost, found.unsound = known.missing + known.holes, len(known.unsound)
    found.doubled = known.altered + known.miscounted
    return found


def server(folder: Path, fault: str, times: int, rng: random.Random, tell: Tell) -> Failed:
    """Take `times` batches into a database on a bad disk."""
    folder.mkdir(parents=True)
    fleet = Fleet(folder)
    fleet.add_car(_CAR)
    fleet.close()
    path = folder / "server.sqlite"
    found = Failed(what="the server's database", fault=fault)
    promises, road, topic = Promises(), manoeuvres(_CAR, rng), BATCH.topic(id=_CAR)
    with watched(folder) as disk, closing(Database.open(path, fleet.clock)) as database:
        ingest = Ingest(database, fleet.server_key, fleet.clock)
        for number in range(times):
            batch = batch_of(_CAR, tuple(next(road)))
            body = fleet.sealed(batch)
            promises.send(sha256_hex(body), batch)

            def take() -> None:
                reply = ingest.take(topic, body)  # noqa: B023 - done before the next
                if reply is not None:
                    promises.hear(reply.receipt)

            disk.fails = _Bad(fault, rng)
            _insist(take, disk, found)
            disk.fails = never
            if number % 10 == 0 or number == times - 1:
                promises.see(stock.read(path))
            tell()
    found.operations = disk.failed
    worst = promises.worst
    found.lost = worst.lost_pairs + worst.lost_others + worst.gone + len(promises.rejected)
    found.doubled = worst.doubled + worst.altered + worst.torn + worst.miscounted + worst.mistallied
    found.unsound = worst.unsound
    return found


def _insist(do: Callable[[], None], disk: Disk, found: Failed) -> None:
    """Do it until it is done; at last on a good disk."""
    for attempt in range(_MOST_TRIES + 1):
        if attempt == _MOST_TRIES:
            disk.fails = never
        try:
            do()
        except RetryLaterError:
            found.refused += 1
        except Exception:  # noqa: BLE001 - whatever else comes of a bad disk is what we look for
            found.crashes += 1
        else:
            return
