"""What a fleet server's database holds at one instant, as another process reads it.

Laws:
- one transaction, so that rows and counters are of one instant, whatever the server does meanwhile;
- opened to be read: what a kill left is mended by the server alone, and not by who looks;
- nothing is believed: a row's content is hashed anew, a picture is cut out of its batch's bytes.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from shared.ids import sha256_hex

Kind = Literal["sample", "manoeuvre", "picture"]


class Key(NamedTuple):
    """What tells a row from all others."""

    kind: Kind
    device: str
    boot: str
    number: int


class Row(NamedTuple):
    """One stored row: `content` is the hash that stands beside it, `found` that of its bytes."""

    key: Key
    content: str
    found: str
    batch: int


class TallyKey(NamedTuple):
    """Whose sums a tally holds; `model` is "" for all samples of the manoeuvre."""

    device: str
    boot: str
    manoeuvre: int
    model: str


class Tally(NamedTuple):
    """Sums over samples, as the table `tallies` has them."""

    samples: int
    led: int
    labelled: int
    label_sum: float
    error_sum: float


@dataclass(frozen=True, kw_only=True)
class Stock:
    """A database at one instant.

    `batches` are the digests of stored messages by row id. `counters` are what the database says of
    its own rows, by a name for people; `rows_counted` the same, counted. `integrity` is SQLite's
    verdict.
    """

    rows: Sequence[Row]
    batches: Mapping[int, str]
    counters: Mapping[str, int]
    rows_counted: Mapping[str, int]
    tallies: Mapping[TallyKey, Tally]
    integrity: str


def read(path: Path) -> Stock:
    """Return what the database at `path` holds now."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10.0, isolation_level=None)) as db:
        db.execute("BEGIN")
        bodies = dict(db.execute("SELECT id, body FROM batches"))
        return Stock(
            rows=[*_records(db), *_pictures(db, bodies)],
            batches={number: sha256_hex(body) for number, body in bodies.items()},
            counters=dict(db.execute(_COUNTERS)),
            rows_counted=dict(db.execute(_COUNTED)),
            tallies={TallyKey(*row[:4]): Tally(*row[4:]) for row in db.execute(_TALLIES)},
            integrity=str(db.execute("PRAGMA integrity_check").fetchone()[0]),
        )


def _records(db: sqlite3.Connection) -> Iterator[Row]:
    for device, boot, number, content, batch, body in db.execute(_SAMPLES):
        yield Row(Key("sample", device, boot, number), content, sha256_hex(body), batch)
    for device, boot, number, content, batch, body in db.execute(_ENDS):
        yield Row(Key("manoeuvre", device, boot, number), content, sha256_hex(body), batch)


def _pictures(db: sqlite3.Connection, bodies: Mapping[int, bytes]) -> Iterator[Row]:
    for device, boot, number, content, batch, offset, size_bytes in db.execute(_PICTURES):
        found = sha256_hex(bodies.get(batch, b"")[offset : offset + size_bytes])
        yield Row(Key("picture", device, boot, number), content, found, batch)


# `+id`: by the table itself and not by an index, which may differ from it after a fault.
_SAMPLES = "SELECT device, boot, sequence, content_hash, batch, body FROM samples ORDER BY +id"
_ENDS = "SELECT device, boot, manoeuvre, content_hash, batch, body FROM manoeuvres ORDER BY +id"
_PICTURES = """
SELECT device, boot, sequence, sha256, batch, "offset", size_bytes FROM pictures ORDER BY +id
"""

_COUNTERS = """
SELECT 'pairs of ' || name, pairs_stored FROM devices
UNION ALL SELECT 'pictures of ' || name, pictures_stored FROM devices
UNION ALL SELECT 'pairs in ' || name, pairs_stored FROM deployments
"""

_COUNTED = """
SELECT 'pairs of ' || name, (SELECT count(*) FROM samples WHERE device = name) FROM devices
UNION ALL
SELECT 'pictures of ' || name, (SELECT count(*) FROM pictures WHERE device = name) FROM devices
UNION ALL
SELECT 'pairs in ' || name, (SELECT count(*) FROM samples WHERE deployment = name) FROM deployments
"""

_TALLIES = """
SELECT device, boot, manoeuvre, model, samples, led, labelled, label_sum, error_sum FROM tallies
"""
