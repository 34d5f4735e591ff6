"""Room in the journal: what it takes, what it may take, and rows given up by `retention`.

Laws:
- nothing goes silently: each transaction counts what it deletes, by reason;
- what the server has goes first (`pairs_discarded`), then pairs by value (`dropped_crowded`,
  `dropped_valuable`, `dropped_flagged`); the picture alone of a pair that was sent counts as
  `pictures_dropped`;
- the end of a manoeuvre stays as long as any of its pairs: without it these would look cut short;
- transactions are small, so that the other process waits for none of them, and so that they fit
  into the room that SQLite keeps in its log when the disk is full; what to delete is looked for
  before they begin, since that may read a whole journal;
- memory is bounded: rows are looked at in blocks, without their bodies.

The file does not shrink: the pages of deleted rows are written to again.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from device.journal import Journal
from device.retention import Cell, Row, quotas, thin
from shared.errors import RetryLaterError

_BATCH = 256
_BLOCK = 2048
_ROOM = 0.05
"""The share of the journal to free at once, so that this is not done for every pair."""

_NEARLY = 0.99
_LEAST = 8


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal may take: `journal_bytes`, and no more than leaves `spare_bytes` free."""

    journal_bytes: int
    spare_bytes: int


def used_bytes(journal: Journal) -> int:
    """Return the size of the pages that hold something.

    Raises:
        RetryLaterError: the journal cannot be read now.
    """
    with journal.reading():
        pages = journal.one("PRAGMA page_count") - journal.one("PRAGMA freelist_count")
        return int(pages * journal.one("PRAGMA page_size"))


def keep_within(journal: Journal, path: Path, budget: Budget, *, is_full: bool = False) -> int:
    """Give up rows where the journal at `path` takes too much; return how many pairs went.

    `is_full` says that a write failed for want of space: then something goes whatever it takes.

    Raises:
        RetryLaterError: the journal cannot be written now.
    """
    used = used_bytes(journal)
    allowed = min(budget.journal_bytes, _reach_bytes(journal, path, budget))
    if used <= allowed * _NEARLY and not is_full:
        return 0
    return make_room(journal, int(min(allowed, used) * (1 - _ROOM)))


def make_room(journal: Journal, goal_bytes: int) -> int:
    """Give up rows, the least worth first, until at most `goal_bytes` are used or none is left."""
    gone = 0
    while used_bytes(journal) > goal_bytes and (done := _discard(journal)):
        gone += done
    while (used := used_bytes(journal)) > goal_bytes:
        counts = _cells(journal)
        total = sum(counts.values())
        drop = _LEAST + round(total * (used - goal_bytes) / used)
        if not total:
            break
        for cell, quota in sorted(quotas(counts, drop).items()):
            gone += _thin_cell(journal, cell, counts[cell], quota)
    return gone


def _reach_bytes(journal: Journal, path: Path, budget: Budget) -> int:
    """Return how large the file may get: as large as it is, and what the disk has to spare."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise RetryLaterError(f"cannot look at {path.parent}: {error.strerror}") from None
    with journal.reading():
        size = int(journal.one("PRAGMA page_count") * journal.one("PRAGMA page_size"))
    return size + max(0, free - budget.spare_bytes)


def _discard(journal: Journal) -> int:
    """Delete the oldest rows that the server answered for; return how many pairs there were."""
    with journal.reading():
        pairs = journal.db.execute(
            "SELECT boot, sequence FROM samples AS s WHERE sent <> 0 AND NOT EXISTS ("
            " SELECT 1 FROM pictures AS p"
            " WHERE p.boot = s.boot AND p.sequence = s.sequence AND p.sent = 0)"
            " LIMIT ?",
            (_BATCH,),
        ).fetchall()
    # What the server answered for stays so: nothing found above has become another's meanwhile.
    with journal.writing():
        _delete(journal, pairs)
        journal.count("pairs_discarded", len(pairs))
    with journal.reading():
        ends = journal.db.execute(
            "SELECT boot, manoeuvre FROM manoeuvres AS m WHERE sent <> 0 AND NOT EXISTS ("
            " SELECT 1 FROM samples AS s WHERE s.boot = m.boot AND s.manoeuvre = m.manoeuvre)"
            " LIMIT ?",
            (_BATCH,),
        ).fetchall()
    with journal.writing():
        journal.db.conn.executemany("DELETE FROM manoeuvres WHERE boot = ? AND manoeuvre = ?", ends)
    return len(pairs)


def _cells(journal: Journal) -> dict[Cell, int]:
    with journal.reading():
        rows = journal.db.execute(
            "SELECT priority, cell, count(*) FROM samples GROUP BY priority, cell"
        ).fetchall()
    return {Cell(priority, name): count for priority, name, count in rows}


def _thin_cell(journal: Journal, cell: Cell, count: int, quota: int) -> int:
    """Give up `quota` of the `count` rows of a cell, block by block; return how many went."""
    reasons = ("flagged", "flagged") if cell.priority else ("crowded", "valuable")
    gone = seen = 0
    for block in _blocks(journal, cell):
        seen += len(block)
        # What this block and those before it owe, so that no rounding is lost between them.
        owed = round(quota * min(1.0, seen / count)) - gone
        for reason, rows in zip(reasons, thin(block, max(0, owed)), strict=True):
            _drop(journal, rows, reason)
            gone += len(rows)
    return gone


def _blocks(journal: Journal, cell: Cell) -> Iterator[list[Row]]:
    last = ("", -1)
    while True:
        with journal.reading():
            found = journal.db.execute(
                "SELECT boot, sequence, residual FROM samples WHERE priority = ? AND cell = ?"
                " AND (boot, sequence) > (?, ?) ORDER BY boot, sequence LIMIT ?",
                (*cell, *last, _BLOCK),
            ).fetchall()
        if not found:
            return
        last = found[-1][:2]
        yield [Row(*row) for row in found]


def _drop(journal: Journal, rows: list[Row], reason: str) -> None:
    for at in range(0, len(rows), _BATCH):
        keys = [(row.boot, row.sequence) for row in rows[at : at + _BATCH]]
        with journal.writing():
            sent = sum(
                journal.one("SELECT sent <> 0 FROM samples WHERE boot = ? AND sequence = ?", *key)
                for key in keys
            )
            _delete(journal, keys)
            journal.count(f"dropped_{reason}", len(keys) - sent)
            journal.count("pictures_dropped", sent)


def _delete(journal: Journal, keys: list[tuple[str, int]]) -> None:
    for table in ("samples", "pictures"):
        journal.db.conn.executemany(
            f"DELETE FROM {table} WHERE boot = ? AND sequence = ?",  # noqa: S608 - own names
            keys,
        )
