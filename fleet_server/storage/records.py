"""From a batch to the rows that index it: pure functions.

Laws:
- a row is a tuple in the order of its table's `COLUMNS` here, so that thousands are handed to the
  database as they are;
- a record is stored in its canonical form, whose SHA-256 is its content hash
  (`shared.samples.content_hash`): encoded once, not twice;
- a picture is a slice of the received bytes, and no copy.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shared.ids import sha256_hex
from shared.samples import ManoeuvreEnd, Picture, Sample

Row = tuple[Any, ...]

_encode = msgspec.msgpack.Encoder(order="sorted").encode

SAMPLE_COLUMNS = (
    *("device", "boot", "sequence", "content_hash", "batch", "manoeuvre", "deployment"),
    *("label", "picture_sha256", "received_utc_us", "body"),
)
END_COLUMNS = (
    *("device", "boot", "manoeuvre", "content_hash", "batch", "deployment"),
    *("received_utc_us", "pairs", "body"),
)
PICTURE_COLUMNS = ("device", "boot", "sequence", "sha256", "batch", "offset", "size_bytes")
"""Of each table the first three are the key, the fourth the content, the fifth the batch."""

TALLY_KEY = ("device", "boot", "manoeuvre", "model")
TALLY_SUMS = ("samples", "led", "labelled", "label_sum", "error_sum")
TALLY_COLUMNS = (*TALLY_KEY, "since_sample", *TALLY_SUMS)


def sample_rows(found: Iterable[Sample], batch: int, received_utc_us: int) -> list[Row]:
    """Return the rows of the table `samples`."""
    rows = []
    for sample in found:
        body = _encode(sample)
        row = (
            sample.device,
            sample.boot,
            sample.sequence,
            sha256_hex(body),
            batch,
            sample.manoeuvre,
            sample.deployment,
            sample.label,
            sample.picture_sha256,
            received_utc_us,
            body,
        )
        rows.append(row)
    return rows


def end_rows(found: Iterable[ManoeuvreEnd], batch: int, received_utc_us: int) -> list[Row]:
    """Return the rows of the table `manoeuvres`."""
    rows = []
    for end in found:
        body = _encode(end)
        rows.append(
            (
                *(end.device, end.boot, end.manoeuvre, sha256_hex(body), batch, end.deployment),
                *(received_utc_us, end.pairs, body),
            )
        )
    return rows


def picture_rows(found: Iterable[Picture], batch: int, body: bytes) -> list[Row]:
    """Return where each JPEG lies in the received bytes; msgpack holds them verbatim, in order."""
    rows, at = [], 0
    for picture in found:
        at = body.index(picture.jpeg, at)
        size_bytes = len(picture.jpeg)
        rows.append(
            (
                *(picture.device, picture.boot, picture.sequence, picture.sha256, batch),
                *(at, size_bytes),
            )
        )
        at += size_bytes
    return rows


def tally(found: Sequence[Sample], since_sample: int) -> list[Row]:
    """Return the rows that `found`, stored from row id `since_sample` on, adds to `tallies`."""
    sums: dict[tuple[str, str, int], dict[str, list[float]]] = {}
    key, of_manoeuvre = ("", "", 0), dict[str, list[float]]()
    for number, sample in enumerate(found, since_sample):
        # Samples come in the order of their manoeuvres, so that this is seldom another one.
        if sample.manoeuvre != key[2] or sample.boot != key[1] or sample.device != key[0]:
            key = (sample.device, sample.boot, sample.manoeuvre)
            of_manoeuvre = sums.setdefault(key, {})
        label = sample.label
        _add(of_manoeuvre, "", number, label, None, leads=False)
        leads = True
        for estimate in sample.estimates:
            _add(of_manoeuvre, estimate.model, number, label, estimate.value, leads=leads)
            leads = False
    return [(*key, model, *row) for key, rows in sums.items() for model, row in rows.items()]


def _add(
    rows: dict[str, list[float]],
    model: str,
    number: int,
    label: float | None,
    value: float | None,
    *,
    leads: bool,
) -> None:
    row = rows.get(model)
    if row is None:
        row = rows[model] = [number, 0, 0, 0, 0.0, 0.0]
    row[1] += 1
    row[2] += leads
    if label is not None:
        row[3] += 1
        row[4] += label
        if value is not None:
            row[5] += abs(value - label)
