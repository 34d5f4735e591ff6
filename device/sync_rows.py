"""What travels in a message: rows of the journal, in groups that should arrive together.

Laws:
- nothing here remembers anything: rows go in, groups, sizes and marks come out;
- a sample and its picture are one group, an end of a manoeuvre is one by itself;
- a picture that no message can hold is put aside by name, and holds up nothing else.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from shared.ids import SampleKey
from shared.messages import Batch
from shared.samples import ManoeuvreEnd, Picture, Sample
from shared.signing import payload_budget
from shared.topics import BATCH

Row = Sample | ManoeuvreEnd | Picture
RowKey = tuple[Literal["manoeuvre", "picture", "sample"], str, int]
Rows = tuple[Row, ...]

ROW_LIMIT_BYTES = payload_budget(BATCH) - 1024
"""The largest row, beside what a message of one row needs for itself."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The waiting rows of the journal in its order, those in flight included.

    `asked` are the pictures that may leave below `pictures`; `first` goes before the rest.
    """

    samples: Sequence[Sample] = ()
    manoeuvres: Sequence[ManoeuvreEnd] = ()
    pictures: Sequence[Picture] = ()
    asked: Sequence[Picture] = ()
    first: frozenset[RowKey] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Take rows out of the queue, as `device.journal.Journal.mark` does."""

    samples: tuple[SampleKey, ...] = ()
    manoeuvres: tuple[tuple[str, int], ...] = ()
    pictures: tuple[SampleKey, ...] = ()
    outcome: Literal["sent", "rejected"]
    reason: str = ""


def grouped(page: Page, pictures: Sequence[Picture]) -> Iterator[Sequence[Row]]:
    """Yield what should travel together: ends of manoeuvres, samples beside their pictures."""
    yield from ([end] for end in page.manoeuvres)
    lone = {(p.boot, p.sequence): p for p in pictures}
    for sample in page.samples:
        picture = lone.pop((sample.boot, sample.sequence), None)
        yield [sample, picture] if picture else [sample]
    yield from ([picture] for picture in lone.values())


def without_oversized(page: Page) -> tuple[Page, Mark | None]:
    """Return `page` without the pictures that no message can hold, and what puts these aside."""
    pictures = (*page.pictures, *page.asked)
    hopeless = tuple(p for p in pictures if size_bytes(p) > ROW_LIMIT_BYTES)
    if not hopeless:
        return page, None
    fitting = [p for p in page.pictures if size_bytes(p) <= ROW_LIMIT_BYTES]
    asked = [p for p in page.asked if size_bytes(p) <= ROW_LIMIT_BYTES]
    reason = f"picture larger than a message of {ROW_LIMIT_BYTES} bytes"
    return replace(page, pictures=fitting, asked=asked), marked(hopeless, "rejected", reason)


def batch_of(device: str, rows: Rows) -> Batch:
    """Return the message that holds `rows`."""
    return Batch(
        device=device,
        samples=tuple(row for row in rows if isinstance(row, Sample)),
        manoeuvres=tuple(row for row in rows if isinstance(row, ManoeuvreEnd)),
        pictures=tuple(row for row in rows if isinstance(row, Picture)),
    )


def marked(rows: Iterable[Row], outcome: Literal["sent", "rejected"], reason: str = "") -> Mark:
    """Return what takes `rows` out of the queue."""
    rows = tuple(rows)
    return Mark(
        samples=tuple(row.key for row in rows if isinstance(row, Sample)),
        manoeuvres=tuple((r.boot, r.manoeuvre) for r in rows if isinstance(r, ManoeuvreEnd)),
        pictures=tuple(
            SampleKey(r.device, r.boot, r.sequence) for r in rows if isinstance(r, Picture)
        ),
        outcome=outcome,
        reason=reason,
    )


def key_of(row: Row) -> RowKey:
    """Return what tells `row` from all others of the car."""
    if isinstance(row, Sample):
        return ("sample", row.boot, row.sequence)
    if isinstance(row, Picture):
        return ("picture", row.boot, row.sequence)
    return ("manoeuvre", row.boot, row.manoeuvre)


def size_bytes(row: Row) -> int:
    """Return how much of a message `row` takes, about."""
    if isinstance(row, Picture):
        return len(row.jpeg) + 256
    return len(msgspec.msgpack.encode(row))
