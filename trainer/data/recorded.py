"""Recorded data: a folder with `images/` and `labels.csv`, as labelled pictures.

Laws:
- `labels.csv` has the columns `file` and `distance_mm` (or `label`); `manoeuvre`, `device`,
  `deployment` and `utc_us` are understood, other columns are left alone;
- a file name names a JPEG inside `images/` and nothing outside it;
- rows without a manoeuvre are taken, in their order, as manoeuvres of 25 pictures each; rows
  without a device or deployment are of the device `recorded` in the deployment that is given.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UsageError
from shared.ids import sha256_hex
from shared.task import Task
from trainer.data.examples import Example

_ROWS_PER_MANOEUVRE = 25
_LABELS = ("distance_mm", "label")
_DEVICE = "recorded"


@dataclass(frozen=True)
class _Source:
    images: Path
    label: str
    setting: str
    task: Task


def read(folder: Path, task: Task, *, setting: str = "recorded") -> Iterator[Example | str]:
    """Return the labelled pictures in `folder` one by one, or the reason why a row does not count.

    Raises:
        UsageError: there is no `labels.csv` or it lacks a column.
    """
    path = folder / "labels.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            label = _label_column(rows.fieldnames or (), path)
            source = _Source(folder / "images", label, setting, task)
            for number, row in enumerate(rows):
                yield _example(number, row, source)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give a folder with images/ and labels.csv"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}") from None


def _label_column(columns: object, path: Path) -> str:
    named = list(columns) if isinstance(columns, list | tuple) else []
    for column in _LABELS:
        if column in named and "file" in named:
            return column
    raise UsageError(f"{path} needs the columns 'file' and '{_LABELS[0]}', it has {named}")


def _example(number: int, row: Mapping[str, str | None], source: _Source) -> Example | str:
    name = row.get("file") or ""
    if not name or Path(name).name != name:
        return "bad_file_name"
    try:
        value = float(row.get(source.label) or "")
    except ValueError:
        return "no_label"
    if not math.isfinite(value) or not source.task.low <= value <= source.task.high:
        return "label_out_of_range"
    try:
        jpeg = (source.images / name).read_bytes()
    except OSError:
        return "no_picture"
    device, setting = row.get("device") or _DEVICE, row.get("deployment") or source.setting
    manoeuvre = row.get("manoeuvre") or f"rows-{number // _ROWS_PER_MANOEUVRE:09d}"
    content = hashlib.sha256(f"{name}\n{value!r}\n{manoeuvre}\n{sha256_hex(jpeg)}".encode())
    return Example(
        key=f"{setting}/{device}/{number:09d}/{name}",
        manoeuvre=f"{setting}/{device}/{manoeuvre}",
        device=device,
        setting=setting,
        digest=content.hexdigest(),
        label=value,
        utc_us=_time(row.get("utc_us")),
        jpeg=jpeg,
    )


def _time(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 18 else 0
