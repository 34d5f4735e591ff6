"""Snapshots: the data sets that runs were trained on, kept once each, under their digest.

Laws:
- a folder that bears a digest is complete: it is written beside its place and renamed;
- the digest is the SHA-256 of `labels.csv`, which names each picture's own: what is read back is
  what was kept, or it is refused;
- whatever ran on a snapshot runs again on it: pictures are kept as they were received.

`<digest>/labels.csv` is the table, `images.zip` the pictures (unpacked beside the table they are a
folder of recordings), `manifest.json` says for people what is in: by setting, label bin and device.
"""

import csv
import io
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.ids import sha256_hex
from shared.samples import Record
from shared.task import Task
from trainer.data.dataset import COLUMNS, Dataset, assemble, table
from trainer.data.examples import Example
from trainer.data.selection import BINS, Query, label_bin

_NO_TIME = (1980, 1, 1, 0, 0, 0)
"""A ZIP's own beginning of time: the same pictures give the same file."""


class Bin(Record, frozen=True):
    """How many labels lie in `low`..`high` (task's unit)."""

    low: float
    high: float
    pairs: int


class Contents(Record, frozen=True):
    """A snapshot's manifest; `left_out` counts what was not taken, by reason."""

    sha256: str
    task: Task
    query: Query
    most_pairs: int
    pairs: int
    manoeuvres: int
    mean_label: float
    settings: dict[str, int]
    devices: dict[str, int]
    bins: tuple[Bin, ...]
    left_out: dict[str, int]


def contents(dataset: Dataset, query: Query, *, most: int) -> Contents:
    """Return what a person should know of `dataset`."""
    task = dataset.task
    width = task.span / BINS
    per_bin = Counter(label_bin(each.label, task) for each in dataset.examples)
    return Contents(
        sha256=dataset.sha256,
        task=task,
        query=query,
        most_pairs=most,
        pairs=len(dataset),
        manoeuvres=len(dataset.manoeuvre_names),
        mean_label=float(np.mean([each.label for each in dataset.examples])),
        settings=dict(sorted(Counter(each.setting for each in dataset.examples).items())),
        devices=dict(sorted(Counter(each.device for each in dataset.examples).items())),
        bins=tuple(
            Bin(
                low=task.low + width * number,
                high=task.low + width * (number + 1),
                pairs=per_bin[number],
            )
            for number in range(BINS)
        ),
        left_out=dict(dataset.skipped),
    )


class Snapshots:
    """The snapshots in one folder."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`, which the first one creates."""
        self._folder = folder

    def keep(self, dataset: Dataset, about: Contents) -> Path:
        """Keep `dataset`, unless it is kept already; return its folder.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        place = self._folder / dataset.sha256
        if place.is_dir():
            return place
        new = place.with_name(f"{place.name}.{os.getpid()}.new")
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            _write(new / "labels.csv", table(dataset.examples))
            _write(new / "images.zip", _packed(dataset.examples))
            text = msgspec.json.format(msgspec.json.encode(about, order="sorted"))
            _write(new / "manifest.json", text)
            new.rename(place)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            if place.is_dir():
                return place  # Another process was faster.
            raise RetryLaterError(f"cannot write {place}: {error.strerror}") from None
        return place

    def load(self, digest: str, task: Task) -> Dataset:
        """Return the data set of that `digest`.

        Raises:
            UsageError: it is not kept here (any more).
            RefusedError: what is kept is damaged.
        """
        place = self._folder / digest
        try:
            rows = (place / "labels.csv").read_bytes()
            if sha256_hex(rows) != digest:
                raise RefusedError(f"{place / 'labels.csv'} is damaged: its digest is another")
            with zipfile.ZipFile(place / "images.zip") as packed:
                examples = [_example(row, packed) for row in _rows(rows)]
        except FileNotFoundError:
            raise UsageError(
                f"the data set {digest} is not in {self._folder}: it was deleted, or made elsewhere"
            ) from None
        except OSError as error:
            raise RetryLaterError(f"cannot read {place}: {error.strerror}") from None
        except (zipfile.BadZipFile, KeyError, csv.Error, UnicodeDecodeError) as error:
            raise RefusedError(f"{place} is damaged: {error}"[:200]) from None
        loaded = assemble(examples, task)
        if loaded.sha256 != digest:
            raise RefusedError(f"{place} is damaged: pictures are missing or cannot be read")
        return replace(loaded, skipped=self.about(digest).left_out)

    def about(self, digest: str) -> Contents:
        """Return the manifest of the snapshot `digest`.

        Raises:
            UsageError: it is not kept here (any more).
            RefusedError: it is damaged.
        """
        path = self._folder / digest / "manifest.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Contents)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise RefusedError(f"{path} is damaged: {error}"[:200]) from None


def _rows(text: bytes) -> list[Mapping[str, str]]:
    rows = csv.DictReader(io.StringIO(text.decode()))
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise RefusedError(f"a snapshot's table has the columns {rows.fieldnames}")
    return list(rows)


def _example(row: Mapping[str, Any], packed: zipfile.ZipFile) -> Example:
    jpeg = packed.read(f"images/{row['file']}")
    if sha256_hex(jpeg) != row["picture_sha256"]:
        raise RefusedError(f"the picture {row['file']} of the snapshot is damaged")
    return Example(
        key=row["key"],
        manoeuvre=row["manoeuvre"],
        device=row["device"],
        setting=row["deployment"],
        digest=row["digest"],
        label=float(row["label"]),
        utc_us=int(row["utc_us"]),
        jpeg=jpeg,
    )


def _packed(examples: Sequence[Example]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        for number, each in enumerate(examples):
            file.writestr(zipfile.ZipInfo(f"images/{number:06d}.jpg", _NO_TIME), each.jpeg)
    return packed.getvalue()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
