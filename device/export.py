"""The journal as a folder of pictures with `labels.csv`, and as one Parquet table.

Laws:
- the folder is what `parkfleet sim replay` and the trainer read: `images/` and `labels.csv` with
  the columns `file,distance_mm,manoeuvre,t_ms` first;
- only pairs with a picture and a label are in it; the others are counted by what they lack, and
  all are in the table;
- the journal is only read; `labels.csv` comes last and whole, so that a folder without it is one
  that was not finished.

Parquet is written where pyarrow is installed (docs/adr/0010): it weighs as much as OpenCV, the
largest part of a car's software.
"""

import csv
import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from device.journal import Journal
from shared.errors import RetryLaterError, UsageError
from shared.samples import Sample

_COLUMNS = (
    "file",
    "distance_mm",
    "manoeuvre",
    "t_ms",
    "estimate_mm",
    "sigma_mm",
    "model",
    "boot",
    "sequence",
    "utc_us",
    "deployment",
    "camera",
    "calibration",
)
_BLOCK = 1000


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export holds; `left_out` are pairs without picture or label, by what they lack."""

    folder: str
    pairs: int
    left_out: dict[str, int]
    table: str | None


def export(journal: Journal, folder: Path) -> Exported:
    """Write all of `journal` to `folder`, which must be new or empty.

    Raises:
        UsageError: the folder holds something or cannot be made.
        RetryLaterError: the disk is full or fails.
    """
    images = folder / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
        if any(each != images for each in folder.iterdir()) or any(images.iterdir()):
            raise UsageError(f"{folder} is not empty: name a new folder")
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None
    try:
        pairs, left_out = _write_folder(journal, folder)
        table = _write_table(journal, folder / "samples.parquet")
    except OSError as error:
        raise RetryLaterError(f"cannot write {folder}: {error}") from error
    return Exported(
        folder=str(folder), pairs=pairs, left_out=left_out, table=str(table) if table else None
    )


def _write_folder(journal: Journal, folder: Path) -> tuple[int, dict[str, int]]:
    lacking: Counter[str] = Counter()
    began_us: dict[tuple[str, int], int] = {}
    pairs = 0
    unfinished = folder / "labels.csv.new"
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for sample, jpeg in _pairs(journal):
            if jpeg is None or sample.label is None:
                lacking["no label" if jpeg else "no picture"] += 1
                continue
            manoeuvre = (sample.boot, sample.manoeuvre)
            t_us = sample.monotonic_us - began_us.setdefault(manoeuvre, sample.monotonic_us)
            name = f"{sample.boot}-{sample.sequence:06d}.jpg"
            (folder / "images" / name).write_bytes(jpeg)
            writer.writerow(_row(sample, name, t_us))
            pairs += 1
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / "labels.csv")
    return pairs, dict(lacking)


def _row(sample: Sample, name: str, t_us: int) -> tuple[object, ...]:
    estimate = sample.estimates[0] if sample.estimates else None
    return (
        name,
        sample.label,
        f"{sample.boot}-{sample.manoeuvre}",
        t_us // 1000,
        estimate.value if estimate else "",
        estimate.sigma if estimate and estimate.sigma is not None else "",
        estimate.model if estimate else "",
        sample.boot,
        sample.sequence,
        sample.utc_us,
        sample.deployment,
        sample.camera,
        sample.calibration,
    )


def _pairs(journal: Journal) -> Iterator[tuple[Sample, bytes | None]]:
    """Yield every stored pair, sent or not, in order; block by block, so that memory is bounded."""
    last = ("", -1)
    while block := journal.pairs_after(last, _BLOCK):
        yield from block
        last = (block[-1][0].boot, block[-1][0].sequence)


def _write_table(journal: Journal, path: Path) -> Path | None:
    """Write every sample as a row; return `path`, or None without pyarrow or without a sample."""
    if importlib.util.find_spec("pyarrow") is None:
        return None
    import pyarrow as pa
    from pyarrow import parquet

    # Named and typed beforehand: a block whose labels are all missing would else have no type.
    schema = pa.schema(
        [(name, getattr(pa, kind)()) for name, kind in _TABLE.items()],
        metadata={"written_by": "parkfleet"},
    )
    unfinished = path.with_name(f"{path.name}.new")
    rows = 0
    with parquet.ParquetWriter(unfinished, schema) as writer:
        for block in _blocks(journal):
            rows += len(block)
            writer.write_table(pa.Table.from_pylist(block, schema=schema))
    unfinished.replace(path)
    return path if rows else None


_TABLE = {
    "task": "string",
    "device": "string",
    "boot": "string",
    "sequence": "int64",
    "manoeuvre": "int64",
    "monotonic_us": "int64",
    "utc_us": "int64",
    "clock_synced": "bool_",
    "source": "string",
    "deployment": "string",
    "desired_revision": "int64",
    "camera": "string",
    "calibration": "string",
    "label": "float64",
    "label_unit": "string",
    "sensor_status": "string",
    "skew_us": "int64",
    "picture_sha256": "string",
    "model": "string",
    "estimate": "float64",
    "sigma": "float64",
    "frame_age_us": "int64",
    "preprocess_us": "int64",
    "inference_us": "int64",
    "brightness": "float64",
    "saturation": "float64",
    "hue": "float64",
    "mean_red": "float64",
    "mean_green": "float64",
    "mean_blue": "float64",
    "contrast": "float64",
    "texture": "float64",
    "keypoints": "int64",
}
"""The table's columns, with their types as pyarrow names them."""


def _blocks(journal: Journal) -> Iterator[list[dict[str, object]]]:
    last = ("", -1)
    while block := journal.pairs_after(last, _BLOCK, pictures=False):
        yield [_flat(sample) for sample, _ in block]
        last = (block[-1][0].boot, block[-1][0].sequence)


def _flat(sample: Sample) -> dict[str, object]:
    """Return a sample as one row; of several estimates that of the model that drove."""
    row = msgspec.structs.asdict(sample)
    for nested in (sample.latency, sample.characteristics):
        row.update(msgspec.structs.asdict(nested) if nested else {})
    if sample.estimates:
        first = sample.estimates[0]
        row.update(model=first.model, estimate=first.value, sigma=first.sigma)
    return {name: row.get(name) for name in _TABLE}
