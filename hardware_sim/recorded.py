"""Recorded data: a folder with `images/` and `labels.csv`, read as manoeuvres of labelled pictures.

Laws:
- `labels.csv` has the columns `file` and `distance_mm`; `manoeuvre` and `t_ms` are understood,
  other columns are left alone;
- a file name names a JPEG inside `images/` and nothing outside it; grey pictures count;
- a row that cannot be used is named by its line and skipped with its reason, and what is kept is
  usable: its picture was unpacked, its label lies in the task's range;
- rows of one manoeuvre belong together wherever they stand, in the order of their times; rows
  without a manoeuvre are taken, in their order, as manoeuvres of 25 pictures each.

A manoeuvre whose rows do not all have a time is taken to have four pictures a second.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import RefusedError, UsageError
from shared.picture import Pixels, decode_jpeg
from shared.task import Task

ROWS_PER_MANOEUVRE: Final = 25
_EVERY_US: Final = 250_000
_LONGEST_US: Final = 24 * 3600 * 1_000_000


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A row that was left out; `line` counts from 1, the header's, as editors do."""

    line: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A labelled picture, `at_us` after the first of its manoeuvre; `label` in the task's unit."""

    file: Path
    label: float
    at_us: int


@dataclass(frozen=True, kw_only=True)
class Manoeuvre:
    """What was recorded in one go, in order of time."""

    name: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A folder of recorded data; manoeuvres are in order of their first row."""

    manoeuvres: tuple[Manoeuvre, ...]
    skipped: tuple[Skipped, ...]

    @property
    def pictures(self) -> int:
        """How many pictures are to be replayed."""
        return sum(len(manoeuvre.shots) for manoeuvre in self.manoeuvres)


@dataclass(frozen=True, kw_only=True)
class _Row:
    manoeuvre: str
    file: Path
    label: float
    t_ms: float | None


def read(folder: Path, task: Task) -> Recording:
    """Return the recorded data in `folder`, every picture looked at.

    Raises:
        UsageError: there is no readable `labels.csv`, it lacks a column, or no row can be used.
    """
    path = folder / "labels.csv"
    kept: dict[str, list[_Row]] = {}
    skipped: list[Skipped] = []
    for row in _rows(path, folder / "images", task):
        if isinstance(row, Skipped):
            skipped.append(row)
        else:
            kept.setdefault(row.manoeuvre, []).append(row)
    if not kept and not skipped:
        raise UsageError(f"{path} has no rows: write one for each picture in images/")
    if not kept:
        first = f"line {skipped[0].line}: {skipped[0].reason}"
        raise UsageError(f"{path}: none of {len(skipped)} rows can be used; {first}")
    return Recording(
        manoeuvres=tuple(_manoeuvre(name, rows) for name, rows in kept.items()),
        skipped=tuple(skipped),
    )


def load(shot: Shot) -> Pixels:
    """Return the picture of `shot`, RGB.

    Raises:
        RefusedError: the file is no longer what it was when it was read.
    """
    try:
        return decode_jpeg(shot.file.read_bytes())
    except OSError as error:
        raise RefusedError(f"{shot.file.name}: {error.strerror}") from None


def _rows(path: Path, images: Path, task: Task) -> Iterator[_Row | Skipped]:
    try:
        # A byte that is no UTF-8 spoils its own row, not the file.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = csv.reader(file)
            columns = _columns(next(lines, []), path)
            number = 0
            while True:
                try:
                    fields = next(lines)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Skipped(line=lines.line_num, reason=str(error))
                    continue
                if not fields:
                    continue
                unnamed = f"rows-{number // ROWS_PER_MANOEUVRE:09d}"
                number += 1
                row = _row(fields, columns, images, task, unnamed)
                yield Skipped(line=lines.line_num, reason=row) if isinstance(row, str) else row
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give a folder with images/ and labels.csv"
        ) from None


def _columns(header: list[str], path: Path) -> list[str]:
    for needed in ("file", "distance_mm"):
        if header.count(needed) != 1:
            raise UsageError(
                f"{path} needs a column {needed!r} once in its first line, it has {header[:16]}"
            )
    return header


def _row(
    fields: list[str], columns: list[str], images: Path, task: Task, unnamed: str
) -> _Row | str:
    """Return the row in `fields`, or the reason why it does not count."""
    if len(fields) != len(columns):
        return f"{len(fields)} fields, the header has {len(columns)}"
    row = dict(zip(columns, fields, strict=True))
    label = _number(row["distance_mm"])
    if label is None:
        return f"distance_mm {row['distance_mm'][:40]!r} is not a number"
    if not task.low <= label <= task.high:
        return f"distance_mm {label:g} lies outside {task.low:g} to {task.high:g} {task.unit}"
    t_ms = _time(row)
    if isinstance(t_ms, str):
        return t_ms
    name = row["file"]
    if not name or "\0" in name or Path(name).name != name:
        return f"file {name[:80]!r} is not the name of a picture in images/"
    file = images / name
    reason = _unreadable(file)
    if reason:
        return f"file {name[:80]!r}: {reason}"
    return _Row(
        manoeuvre=row.get("manoeuvre", "").strip() or unnamed, file=file, label=label, t_ms=t_ms
    )


def _time(row: Mapping[str, str]) -> float | str | None:
    text = row.get("t_ms", "").strip()
    t_ms = _number(text) if text else None
    return f"t_ms {text[:40]!r} is not a number" if text and t_ms is None else t_ms


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unreadable(file: Path) -> str:
    try:
        decode_jpeg(file.read_bytes())
    except OSError as error:
        return str(error.strerror)
    except RefusedError as error:
        return str(error)
    return ""


def _manoeuvre(name: str, rows: list[_Row]) -> Manoeuvre:
    times_ms = [row.t_ms for row in rows if row.t_ms is not None]
    if len(times_ms) < len(rows):
        timed = [(number * _EVERY_US, row) for number, row in enumerate(rows)]
    else:
        first_ms = min(times_ms)
        timed = [(round(((row.t_ms or 0.0) - first_ms) * 1000), row) for row in rows]
        timed.sort(key=lambda each: each[0])
    if timed[-1][0] > _LONGEST_US:
        raise UsageError(f"manoeuvre {name!r} lasts longer than a day: is t_ms in milliseconds?")
    return Manoeuvre(
        name=name,
        shots=tuple(Shot(file=row.file, label=row.label, at_us=at_us) for at_us, row in timed),
    )
