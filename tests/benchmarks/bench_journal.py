"""What the journal adds to SQLite alone, which writes the same rows as safely.

    python -m tests.benchmarks.bench_journal

A manoeuvre (25 pairs with their pictures, and its end) is appended in one transaction, in turns to
the journal and to a file that sqlite3 alone writes: the same tables and indexes, the same WAL,
synchronous=FULL and page size, the very rows. What the journal does besides (proofs that rows can
be read back, digests of contents, keys looked up, counters) is in its time. Prints one JSON object;
exits with 1 where the figure misses its limit.
"""

import sqlite3
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import click
import msgspec

from device.journal import Journal
from device.journal.records import manoeuvre_row, picture_row, sample_row
from hardware_sim.lab.report import Check
from shared.clock import SystemClock
from shared.samples import ManoeuvreEnd, Sample
from tests.device.records import manoeuvre_end, sample

LIMIT: Final = 2.0

_ROUNDS = 200
_WARM_UP = 5
_PAIRS: Final = 25
_CONSENT: Final = 2
_JPEG: Final = bytes(3_500)

Logged = tuple[list[tuple[Sample, bytes]], ManoeuvreEnd]
Rows = dict[str, list[Mapping[str, object]]]


def logged(number: int) -> Logged:
    """Return what a car logs of its `number`-th manoeuvre."""
    first = number * _PAIRS
    pairs = [
        (sample(sequence, manoeuvre=number), _JPEG) for sequence in range(first, first + _PAIRS)
    ]
    return pairs, manoeuvre_end(number, pairs=_PAIRS)


def rows(made: Logged) -> Rows:
    """Return the rows that the journal makes of it."""
    pairs, end = made
    return {
        "samples": [sample_row(each, _CONSENT) for each, _ in pairs],
        "pictures": [picture_row(each, jpeg, _CONSENT) for each, jpeg in pairs],
        "manoeuvres": [manoeuvre_row(end, _CONSENT)],
    }


class Bare:
    """SQLite alone, over a file that has the journal's tables and settings."""

    def __init__(self, path: Path) -> None:
        """Make the file as the journal makes it, then forget the journal."""
        Journal.open(path).close()
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous=FULL")

    def append(self, made: Rows) -> None:
        """Insert ready rows in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        for table, every in made.items():
            self._insert(table, every)
        self._connection.execute("COMMIT")

    def _insert(self, table: str, every: Sequence[Mapping[str, object]]) -> None:
        names = ", ".join(every[0])
        values = ", ".join(f":{name}" for name in every[0])
        statement = f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - own names
        self._connection.executemany(statement, every)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def measure(rounds: int = _ROUNDS) -> tuple[Check, dict[str, float]]:
    """Return the check, and the medians in microseconds a manoeuvre."""
    clock = SystemClock()
    took: dict[str, list[int]] = {"journal": [], "bare": []}
    with tempfile.TemporaryDirectory() as name:
        journal = Journal.open(Path(name) / "journal.sqlite")
        bare = Bare(Path(name) / "bare.sqlite")
        for number in range(_WARM_UP + rounds):
            made = logged(number)
            ready = rows(made)
            begun_us = clock.monotonic_us()
            journal.append(samples=made[0], manoeuvres=[made[1]])
            between_us = clock.monotonic_us()
            bare.append(ready)
            took["bare"].append(clock.monotonic_us() - between_us)
            took["journal"].append(between_us - begun_us)
        journal.close()
        bare.close()
    medians = {side: float(median(times[_WARM_UP:])) for side, times in took.items()}
    return Check(
        name="a manoeuvre into the journal, over bare SQLite",
        value=round(medians["journal"] / medians["bare"], 3),
        unit="times",
        limit=LIMIT,
        better="lower",
    ), {f"{side}_us": value for side, value in medians.items()}


@click.command()
@click.option("--rounds", default=_ROUNDS, show_default=True, help="How often each side is timed.")
def main(rounds: int) -> None:
    """Measure and print; exit with 1 above the limit."""
    check, medians = measure(rounds)
    body = {"checks": [check.as_dict()], "medians": medians}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if check.met else 1)


if __name__ == "__main__":
    main()
