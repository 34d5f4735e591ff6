"""Recorded data: a folder with `images/` and `labels.csv`, as labelled pictures.

Laws:
- `labels.csv` has the columns `file` and `distance_mm` (or `label`); `manoeuvre` is understood,
  other columns are left alone;
- a file name names a JPEG inside `images/` and nothing outside it;
- rows without a manoeuvre are taken, in their order, as manoeuvres of 25 pictures each.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.errors import UsageError
from shared.ids import sha256_hex
from shared.task import Task
from trainer.dataset import Example

_ROWS_PER_MANOEUVRE = 25
_LABELS = ("distance_mm", "label")


def read(folder: Path, task: Task) -> Iterator[Example | str]:
    """Return the labelled pictures in `folder` one by one, or the reason why a row does not count.

    Raises:
        UsageError: there is no `labels.csv` or it lacks a column.
    """
    path = folder / "labels.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            label = _label_column(rows.fieldnames or (), path)
            for number, row in enumerate(rows):
                yield _example(number, row, label, folder / "images", task)
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


def _example(
    number: int, row: Mapping[str, str | None], label: str, images: Path, task: Task
) -> Example | str:
    name = row.get("file") or ""
    if not name or Path(name).name != name:
        return "bad_file_name"
    try:
        value = float(row.get(label) or "")
    except ValueError:
        return "no_label"
    if not math.isfinite(value) or not task.low <= value <= task.high:
        return "label_out_of_range"
    try:
        jpeg = (images / name).read_bytes()
    except OSError:
        return "no_picture"
    manoeuvre = row.get("manoeuvre") or f"rows-{number // _ROWS_PER_MANOEUVRE:09d}"
    content = hashlib.sha256(f"{name}\n{value!r}\n{manoeuvre}\n{sha256_hex(jpeg)}".encode())
    return Example(
        key=f"{number:09d}/{name}",
        manoeuvre=manoeuvre,
        digest=content.hexdigest(),
        label=value,
        jpeg=jpeg,
    )
