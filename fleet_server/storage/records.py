"""From a batch to the rows that index it: pure functions.

Laws:
- a row is a tuple in the order of its table's `COLUMNS` here, so that thousands are handed to the
  database as they are;
- a record is stored in its canonical form, whose SHA-256 is its content hash
  (`shared.samples.content_hash`): encoded once, not twice;
- a picture is a slice of the received bytes, and no copy.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from shared.ids import sha256_hex
from shared.messages import Batch
from shared.samples import ManoeuvreEnd, Picture, Sample

Row = tuple[Any, ...]

_encode = msgspec.msgpack.Encoder(order="sorted").encode

SAMPLE_COLUMNS = (
    *("device", "boot", "sequence", "content_hash", "manoeuvre", "deployment"),
    *("label", "picture_sha256", "received_utc_us", "body", "batch"),
)
END_COLUMNS = (
    *("device", "boot", "manoeuvre", "content_hash", "deployment"),
    *("received_utc_us", "pairs", "body", "batch"),
)
PICTURE_COLUMNS = ("device", "boot", "sequence", "sha256", "offset", "size_bytes", "batch")
"""Of each table the first three are the key, the fourth the content, the last the batch."""

TALLY_KEY = ("device", "boot", "manoeuvre", "model")
TALLY_SUMS = ("samples", "led", "labelled", "label_sum", "error_sum")
TALLY_COLUMNS = (*TALLY_KEY, *TALLY_SUMS, "since_sample")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All that indexes one batch, but for the row ids that only its transaction knows.

    The rows of samples, ends and pictures want the batch's id as their last value, those of the
    tallies the row id of the first sample added to it. `deployments` counts samples by deployment.
    """

    samples: list[Row]
    ends: list[Row]
    pictures: list[Row]
    tallies: list[Row]
    deployments: Mapping[str, int]


def of_batch(batch: Batch, body: bytes, received_utc_us: int) -> Rows:
    """Return the rows that index `batch`, which came as the message `body`."""
    return Rows(
        samples=sample_rows(batch.samples, received_utc_us),
        ends=end_rows(batch.manoeuvres, received_utc_us),
        pictures=picture_rows(batch.pictures, body),
        tallies=tally(batch.samples),
        deployments=Counter([each.deployment for each in batch.samples]),
    )


def numbered(rows: Iterable[Row], number: int) -> list[Row]:
    """Return `rows` with `number` as their last value: the id of their batch."""
    return [(*row, number) for row in rows]


def counted_from(rows: Iterable[Row], first_id: int) -> list[Row]:
    """Return rows of `tally` whose samples have the row ids from `first_id` on."""
    return [(*row[:-1], row[-1] + first_id) for row in rows]


def sample_rows(found: Iterable[Sample], received_utc_us: int) -> list[Row]:
    """Return the rows of the table `samples`."""
    rows = []
    for sample in found:
        body = _encode(sample)
        row = (
            sample.device,
            sample.boot,
            sample.sequence,
            sha256_hex(body),
            sample.manoeuvre,
            sample.deployment,
            sample.label,
            sample.picture_sha256,
            received_utc_us,
            body,
        )
        rows.append(row)
    return rows


def end_rows(found: Iterable[ManoeuvreEnd], received_utc_us: int) -> list[Row]:
    """Return the rows of the table `manoeuvres`."""
    rows = []
    for end in found:
        body = _encode(end)
        rows.append(
            (
                *(end.device, end.boot, end.manoeuvre, sha256_hex(body), end.deployment),
                *(received_utc_us, end.pairs, body),
            )
        )
    return rows


def picture_rows(found: Iterable[Picture], body: bytes) -> list[Row]:
    """Return where each JPEG lies in the received bytes; msgpack holds them verbatim, in order."""
    rows, at = [], 0
    for picture in found:
        at = body.index(picture.jpeg, at)
        size_bytes = len(picture.jpeg)
        rows.append(
            (
                *(picture.device, picture.boot, picture.sequence, picture.sha256),
                *(at, size_bytes),
            )
        )
        at += size_bytes
    return rows


def tally(found: Sequence[Sample]) -> list[Row]:
    """Return the rows that `found` adds to `tallies`, the last value being a place in `found`.

    A manoeuvre whose samples lie apart has a row for each stretch of them.
    """
    rows: list[Row] = []
    place = 0
    for key, stretch in groupby(found, _manoeuvre):
        samples = list(stretch)
        labels = [each.label for each in samples if each.label is not None]
        rows.append((*key, "", len(samples), 0, len(labels), sum(labels), 0.0, place))
        models = dict.fromkeys([one.model for each in samples for one in each.estimates])
        rows.extend((*key, model, *_sums(samples, model), place) for model in models)
        place += len(samples)
    return rows


def _manoeuvre(sample: Sample) -> tuple[str, str, int]:
    return sample.device, sample.boot, sample.manoeuvre


def _sums(samples: Sequence[Sample], model: str) -> tuple[int, int, int, float, float]:
    """Return what the samples that `model` estimated come to, as `TALLY_SUMS` names it."""
    found = [
        (each.label, one.value) for each in samples for one in each.estimates if one.model == model
    ]
    led = sum([bool(each.estimates) and each.estimates[0].model == model for each in samples])
    judged = [(label, value) for label, value in found if label is not None]
    return (
        len(found),
        led,
        len(judged),
        sum([label for label, _ in judged]),
        sum([abs(value - label) for label, value in judged]),
    )
