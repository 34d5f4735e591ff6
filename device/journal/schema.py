"""The tables of the journal, as numbered migrations.

Laws:
- a migration, once released, never changes; what is needed later is another one;
- all migrations that are missing, and their records, are one transaction: a power cut leaves the
  journal as it was or as it should be;
- a journal that knows a migration we do not was written by a newer version, and is left alone.
"""

from sqlite_utils import Database, Migrations

APPLICATION_ID = 0x70664A31
"""Marks a SQLite file as our journal in its header ("pfJ1"); see `PRAGMA application_id`."""

MIGRATIONS = Migrations("parkfleet-journal")

# Rows leave the queue by `sent`: 0 waiting, 1 stored by the server, 2 rejected by it. The partial
# indexes hold the waiting rows only, so that a full journal costs the queue nothing.
_TABLES_0001 = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE samples (
    boot TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    manoeuvre INTEGER NOT NULL,
    body BLOB NOT NULL,
    content_hash TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1, 2)),
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (boot, sequence)
);
CREATE INDEX samples_waiting ON samples (boot, sequence) WHERE sent = 0;
CREATE TABLE pictures (
    boot TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    device TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    jpeg BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1, 2)),
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (boot, sequence)
);
CREATE INDEX pictures_waiting ON pictures (boot, sequence) WHERE sent = 0;
CREATE TABLE manoeuvres (
    boot TEXT NOT NULL,
    manoeuvre INTEGER NOT NULL,
    body BLOB NOT NULL,
    content_hash TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1, 2)),
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (boot, manoeuvre)
);
CREATE INDEX manoeuvres_waiting ON manoeuvres (boot, manoeuvre) WHERE sent = 0;
CREATE TABLE desired (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
);
CREATE TABLE slots (
    name TEXT PRIMARY KEY CHECK (name IN ('a', 'b')),
    sha256 TEXT,
    release_seq INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'empty'
        CHECK (state IN ('empty', 'active', 'standby', 'refused'))
) WITHOUT ROWID;
CREATE UNIQUE INDEX slots_one_active ON slots (state) WHERE state = 'active';
CREATE TABLE drive_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot TEXT NOT NULL,
    loaded TEXT,
    release_seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    utc_us INTEGER NOT NULL
);
CREATE TABLE "update" (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
);
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO slots (name) VALUES ('a'), ('b');
"""


# What a pair is worth keeping for (device/retention.py). The index covers that rule's questions, so
# that they read no bodies; its rows arrive in few places, one a cell.
_TABLES_0002 = """
ALTER TABLE samples ADD COLUMN cell TEXT NOT NULL DEFAULT '';
ALTER TABLE samples ADD COLUMN residual REAL;
CREATE INDEX samples_value ON samples (cell, boot, sequence, residual);
ALTER TABLE drive_state ADD COLUMN faults TEXT NOT NULL DEFAULT '';
"""


# The owner's level when a row was captured (its place in `shared.messages.UPLOAD_ORDER`): what was
# captured at 0 never enters the queue. Rows from before keep the terms they were logged under, the
# levels at the time of sending. Priority: 0 ordinary, 1 flagged by the watch over the model's
# error, 2 asked for by an operator. `watched` says that the watch has consumed a manoeuvre.
_TABLES_0003 = """
ALTER TABLE samples ADD COLUMN consent INTEGER NOT NULL DEFAULT 2;
ALTER TABLE pictures ADD COLUMN consent INTEGER NOT NULL DEFAULT 2;
ALTER TABLE manoeuvres ADD COLUMN consent INTEGER NOT NULL DEFAULT 2;
ALTER TABLE samples ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pictures ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE manoeuvres ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE manoeuvres ADD COLUMN watched INTEGER NOT NULL DEFAULT 0;
DROP INDEX samples_waiting;
DROP INDEX pictures_waiting;
DROP INDEX manoeuvres_waiting;
CREATE INDEX samples_waiting ON samples (priority DESC, boot, sequence)
    WHERE sent = 0 AND consent > 0;
CREATE INDEX pictures_waiting ON pictures (priority DESC, boot, sequence)
    WHERE sent = 0 AND consent > 1;
CREATE INDEX manoeuvres_waiting ON manoeuvres (priority DESC, boot, manoeuvre)
    WHERE sent = 0 AND consent > 0;
CREATE INDEX manoeuvres_unwatched ON manoeuvres (boot, manoeuvre) WHERE watched = 0;
CREATE INDEX samples_of_manoeuvre ON samples (boot, manoeuvre);
CREATE TABLE watch (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
);
"""


# What is flagged or asked for is kept longest, so retention asks for one priority at a time.
_TABLES_0004 = """
DROP INDEX samples_value;
CREATE INDEX samples_value ON samples (priority, cell, boot, sequence, residual);
"""


# A model that answers beside the active one. SQLite changes a CHECK only in a new table.
_TABLES_0005 = """
CREATE TABLE slots_with_shadow (
    name TEXT PRIMARY KEY CHECK (name IN ('a', 'b')),
    sha256 TEXT,
    release_seq INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'empty'
        CHECK (state IN ('empty', 'active', 'standby', 'refused', 'shadow'))
) WITHOUT ROWID;
INSERT INTO slots_with_shadow SELECT name, sha256, release_seq, state FROM slots;
DROP TABLE slots;
ALTER TABLE slots_with_shadow RENAME TO slots;
CREATE UNIQUE INDEX slots_one_active ON slots (state) WHERE state = 'active';
CREATE UNIQUE INDEX slots_one_shadow ON slots (state) WHERE state = 'shadow';
"""


_NAME_0001 = "0001_tables"
_NAME_0002 = "0002_value"
_NAME_0003 = "0003_consent"
_NAME_0004 = "0004_flagged_last"
_NAME_0005 = "0005_shadow"

KNOWN = frozenset({_NAME_0001, _NAME_0002, _NAME_0003, _NAME_0004, _NAME_0005})
"""Every migration of this version."""


@MIGRATIONS(name=_NAME_0001)
def _tables(db: Database) -> None:
    db.executescript(_TABLES_0001)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


@MIGRATIONS(name=_NAME_0002)
def _value(db: Database) -> None:
    db.executescript(_TABLES_0002)


@MIGRATIONS(name=_NAME_0003)
def _consent(db: Database) -> None:
    db.executescript(_TABLES_0003)


@MIGRATIONS(name=_NAME_0004)
def _flagged_last(db: Database) -> None:
    db.executescript(_TABLES_0004)


@MIGRATIONS(name=_NAME_0005)
def _shadow(db: Database) -> None:
    db.executescript(_TABLES_0005)


def unknown_migrations(db: Database) -> list[str]:
    """Return the migrations recorded in `db` that this version does not know."""
    return sorted({migration.name for migration in MIGRATIONS.applied(db)} - KNOWN)
