"""Power cuts under SQLite: the car's journal, and the server's database.

Laws:
- an action is done, and marked on the disk's list once its promise is out: `append` has returned,
  or a receipt is signed. Whatever was marked before a cut must be there after it;
- what was under way at the cut is there whole or not at all.
"""

import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from device.journal import Journal
from device.sync_rows import Row, batch_of
from fleet_server.ingest.taking import Ingest
from fleet_server.storage.database import Database
from shared.errors import ParkfleetError
from shared.ids import SampleKey, sha256_hex
from shared.messages import Batch
from shared.samples import ManoeuvreEnd, Picture, Sample
from shared.topics import BATCH
from tests.chaos import ledger, stock
from tests.chaos.cars import manoeuvres
from tests.chaos.disk import Cut, cuts, watched
from tests.chaos.ledger import Key
from tests.chaos.power_found import Tried
from tests.chaos.promises import Promises
from tests.fleet_server.fleet import Fleet

_MANOEUVRES: Final = 30
_CHECKPOINT: Final = 4
_REOPEN: Final = 9
"""After so many manoeuvres the WAL is written back, or the file is closed, as by a restart."""

_GO_ON: Final = 25
"""Every so many states, work goes on with what was found."""

_CAR: Final = "car-1"
_TOPIC: Final = BATCH.topic(id=_CAR)

Tell = Callable[[], None]


def journal(folder: Path, states: int, rng: random.Random, tell: Tell) -> Tried:
    """Cut the power under a journal at `states` instants."""
    path = folder / "car" / "journal.sqlite"
    path.parent.mkdir(parents=True)
    promised: list[frozenset[Key]] = [frozenset()]
    road = manoeuvres(_CAR, rng)
    with watched(path.parent) as disk:
        opened = Journal.open(path)
        for number in range(1, _MANOEUVRES + 1):
            rows = next(road)
            append(opened, rows)
            promised.append(promised[-1] | {Key(r.boot, r.sequence) for r in _samples(rows)})
            disk.mark(number)
            if number % 3 == 0:
                keys = [SampleKey(_CAR, r.boot, r.sequence) for r in _samples(rows)]
                opened.mark(samples=keys, outcome="sent")
            opened = _tended(opened, path, number)
        opened.close()
    found = Tried(what="the car's journal", operations=len(disk.ops))
    for number, cut in enumerate(cuts(disk.ops, states, rng)):
        place = _laid_out(cut, path.parent, folder / "cut")
        _judge_journal(place / path.name, cut, promised, found)
        if number % _GO_ON == 0:
            _go_on_with_journal(place / path.name, next(road), found)
        tell()
    return found


def append(opened: Journal, rows: Sequence[Row]) -> None:
    """Put a manoeuvre's rows into a journal."""
    jpegs = {row.sequence: row.jpeg for row in rows if isinstance(row, Picture)}
    opened.append(
        samples=[(each, jpegs.get(each.sequence)) for each in _samples(rows)],
        manoeuvres=[row for row in rows if isinstance(row, ManoeuvreEnd)],
    )


def _tended(opened: Journal, path: Path, number: int) -> Journal:
    if number % _CHECKPOINT == 0:
        opened.db.execute("PRAGMA wal_checkpoint(RESTART)")
    if number % _REOPEN:
        return opened
    opened.close()
    return Journal.open(path)


def _judge_journal(path: Path, cut: Cut, promised: Sequence[frozenset[Key]], found: Tried) -> None:
    found.states += 1
    found.unsure += cut.unsure > 0
    try:
        if path.exists():
            Journal.open(path).close()
        now = ledger.read(path)
    except (ParkfleetError, sqlite3.Error):
        found.unsound += 1
        return
    there = frozenset(now.hashes)
    found.lost += len(promised[cut.mark] - there)
    found.torn += there not in promised[cut.mark : cut.mark + 2]
    found.unsound += now.integrity != "ok"
    found.torn += now.miscounted > 0


def _go_on_with_journal(path: Path, rows: Sequence[Row], found: Tried) -> None:
    try:
        with closing(Journal.open(path)) as opened:
            append(opened, rows)
    except ParkfleetError:
        found.stuck += 1


def server(folder: Path, states: int, rng: random.Random, tell: Tell) -> Tried:
    """Cut the power under the server's database at `states` instants."""
    state = folder / "server"
    state.mkdir(parents=True)
    fleet = Fleet(state)
    fleet.add_car(_CAR)
    fleet.close()
    path = state / "server.sqlite"
    before = {str(path): path.read_bytes()}
    promises = Promises()
    promised: list[frozenset[stock.Key]] = [frozenset()]
    road = manoeuvres(_CAR, rng)
    with watched(state) as disk:
        database = Database.open(path, fleet.clock)
        for number in range(1, _MANOEUVRES + 1):
            batch = batch_of(_CAR, tuple(next(road)))
            _take(fleet, database, batch, promises)
            promised.append(frozenset(promises.promised))
            disk.mark(number)
            if number % _CHECKPOINT == 0:
                with database.read() as connection:
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(RESTART)")
            if number % _REOPEN == 0:
                database.close()
                database = Database.open(path, fleet.clock)
        database.close()
    found = Tried(what="the server's database", operations=len(disk.ops))
    for number, cut in enumerate(cuts(disk.ops, states, rng, before)):
        place = _laid_out(cut, state, folder / "cut") / path.name
        _judge_server(place, cut, promises, promised, found)
        if number % (4 * _GO_ON) == 0:
            _go_on_with_server(place, fleet, batch_of(_CAR, tuple(next(road))), found)
        tell()
    return found


def _take(fleet: Fleet, database: Database, batch: Batch, promises: Promises) -> None:
    body = fleet.sealed(batch)
    promises.send(sha256_hex(body), batch)
    reply = Ingest(database, fleet.server_key, fleet.clock).take(_TOPIC, body)
    if reply is not None:
        promises.hear(reply.receipt)


def _judge_server(
    path: Path,
    cut: Cut,
    promises: Promises,
    promised: Sequence[frozenset[stock.Key]],
    found: Tried,
) -> None:
    found.states += 1
    found.unsure += cut.unsure > 0
    expected = Promises(
        contents=promises.contents,
        messages=promises.messages,
        promised=set(promised[cut.mark]),
        _facts=promises._facts,
    )
    try:
        with closing(sqlite3.connect(path)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        faults = expected.see(stock.read(path))
    except sqlite3.Error:
        found.unsound += 1
        return
    found.lost += faults.lost_pairs + faults.lost_others
    found.unsound += faults.unsound
    rest = (faults.doubled, faults.altered, faults.unknown, faults.torn, faults.miscounted)
    found.torn += sum(rest) + faults.mistallied


def _go_on_with_server(path: Path, fleet: Fleet, batch: Batch, found: Tried) -> None:
    try:
        database = Database.open(path, fleet.clock)
    except ParkfleetError:
        found.stuck += 1
        return
    with closing(database):
        reply = Ingest(database, fleet.server_key, fleet.clock).take(_TOPIC, fleet.sealed(batch))
        found.stuck += reply is None or reply.receipt.outcome != "stored"


def _samples(rows: Sequence[Row]) -> list[Sample]:
    return [row for row in rows if isinstance(row, Sample)]


def _laid_out(cut: Cut, folder: Path, place: Path) -> Path:
    """Write the files of a disk that lay in `folder` into `place`, and nothing else."""
    if place.exists():
        shutil.rmtree(place)
    place.mkdir()
    for path, body in cut.files.items():
        (place / Path(path).relative_to(folder.absolute())).write_bytes(body)
    return place
