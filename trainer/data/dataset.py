"""Labelled pictures as arrays, ordered and named by a digest.

Laws:
- what was left out is counted with its reason, and a set that cannot teach is refused with the
  count and the remedy;
- the digest is that of the set's table (`table`), so that anybody can compute it: it depends on
  which pairs are in, and on nothing else: not on order, pages or batches;
- the same examples give the same arrays.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.picture import Pixels, decode_jpeg, prepare
from shared.task import Task
from trainer.data.examples import REASONS, Example
from trainer.data.selection import BINS, Query, select

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

MINIMUM_PAIRS: Final = 60
MINIMUM_MANOEUVRES: Final = 5
MINIMUM_LABEL_SPREAD: Final = 0.02
"""The least standard deviation of the labels, as a share of the task's range: 7 of 350 mm."""

MOST_OUT_OF_RANGE: Final = 0.5
"""With a larger share of labels outside the task's range than this it is the wrong task."""

SIDES: Final = range(16, 1025)

COLUMNS: Final = (
    "file", "label", "manoeuvre", "device", "deployment", "utc_us", "key", "digest",
    "picture_sha256",
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Examples as arrays, ordered by key.

    `pictures` is uint8, n x height x width x 3; `labels` is float32, n, 0..1 over the task's range;
    `manoeuvres`, `settings` and `devices` hold a number for each example, in the order of
    `manoeuvre_names`, `setting_names` and `device_names`.
    """

    task: Task
    examples: tuple[Example, ...] = field(repr=False)
    pictures: Pixels
    labels: Floats
    manoeuvres: Indices
    manoeuvre_names: tuple[str, ...]
    settings: Indices
    setting_names: tuple[str, ...]
    devices: Indices
    device_names: tuple[str, ...]
    sha256: str
    skipped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: Indices) -> "Part":
        """Return the pictures and labels of `rows`."""
        return Part(self.pictures[rows], self.labels[rows])

    def strata(self, rows: Indices) -> Indices:
        """Return a number for each of `rows`, the same for the same setting and label bin."""
        return self.settings[rows] * BINS + label_bins(self.labels[rows])


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a data set: pictures (uint8, n x height x width x 3), labels (float32, n, 0..1)."""

    pictures: Pixels
    labels: Floats

    def __len__(self) -> int:
        return len(self.labels)


def assemble(
    candidates: Iterable[Example | str],
    task: Task,
    *,
    query: Query | None = None,
    most: int = 1_000_000,
    seed: int = 1,
) -> Dataset:
    """Return the data set of at most `most` examples; reasons among `candidates` are counted.

    Raises:
        RefusedError: the task makes no sense, too few examples or manoeuvres are left, or their
            labels are all alike; the text names the count and the remedy.
    """
    require_sensible(task)
    skipped: Counter[str] = Counter()
    found: dict[str, Example] = {}
    for candidate in candidates:
        if isinstance(candidate, str):
            skipped[candidate] += 1
        else:
            found[candidate.key] = candidate
    chosen = select(list(found.values()), task, query or Query(), most=most, seed=seed)
    skipped += chosen.left_out
    readable, pictures = _unpacked(chosen.examples, task)
    skipped += Counter({"picture_unreadable": len(chosen.examples) - len(readable)})
    _require_enough(readable, skipped, task)
    return _arrays(task, readable, pictures, dict(sorted(skipped.items())))


def _arrays(
    task: Task, examples: Sequence[Example], pictures: list[Pixels], skipped: Mapping[str, int]
) -> Dataset:
    manoeuvre_names, manoeuvres = _numbered([each.manoeuvre for each in examples])
    setting_names, settings = _numbered([each.setting for each in examples])
    device_names, devices = _numbered([each.device for each in examples])
    labels = [(each.label - task.low) / task.span for each in examples]
    return Dataset(
        task=task,
        examples=tuple(examples),
        pictures=np.stack(pictures),
        labels=np.asarray(labels, dtype=np.float32),
        manoeuvres=manoeuvres,
        manoeuvre_names=manoeuvre_names,
        settings=settings,
        setting_names=setting_names,
        devices=devices,
        device_names=device_names,
        sha256=sha256_hex(table(examples)),
        skipped=skipped,
    )


def require_sensible(task: Task) -> None:
    """Refuse a task whose range or picture size no model of ours can have.

    Raises:
        RefusedError: the text names the remedy.
    """
    if not (math.isfinite(task.low) and math.isfinite(task.high) and task.low < task.high):
        raise RefusedError(
            f"the range {task.low:g} to {task.high:g} {task.unit} of the task {task.name} holds no "
            "label: needs low < high, both finite"
        )
    if task.picture_width not in SIDES or task.picture_height not in SIDES:
        raise RefusedError(
            f"the task {task.name} asks for pictures of {task.picture_width} x "
            f"{task.picture_height}: needs {SIDES[0]} to {SIDES[-1]} pixels a side"
        )


def table(examples: Sequence[Example]) -> bytes:
    """Return the set as CSV in UTF-8, ordered by key: its SHA-256 names the set.

    A row's `file` is where a snapshot keeps the picture.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for number, each in enumerate(sorted(examples, key=lambda example: example.key)):
        rows.writerow(
            (
                f"{number:06d}.jpg",
                repr(each.label),
                each.manoeuvre,
                each.device,
                each.setting,
                each.utc_us,
                each.key,
                each.digest,
                sha256_hex(each.jpeg),
            )
        )
    return text.getvalue().encode()


def label_bins(labels: Floats, count: int = BINS) -> Indices:
    """Return each label's bin 0..count-1; the bins are of equal width over 0..1."""
    return np.clip((labels * count).astype(np.int64), 0, count - 1)


def _unpacked(examples: Sequence[Example], task: Task) -> tuple[list[Example], list[Pixels]]:
    readable, pictures = [], []
    for example in examples:
        try:
            pictures.append(prepare(decode_jpeg(example.jpeg), task))
        except RefusedError:
            continue
        readable.append(example)
    return readable, pictures


def _numbered(names: Sequence[str]) -> tuple[tuple[str, ...], Indices]:
    unique, numbers = np.unique(names, return_inverse=True)
    return tuple(unique.tolist()), numbers.astype(np.int64)


def _require_enough(examples: Sequence[Example], skipped: Mapping[str, int], task: Task) -> None:
    outside = skipped.get("label_out_of_range", 0)
    if outside > MOST_OUT_OF_RANGE * (outside + len(examples)):
        raise RefusedError(
            f"{outside} of {outside + len(examples)} labels lie outside {task.low:g} to "
            f"{task.high:g} {task.unit}: {REASONS['label_out_of_range']}"
        )
    if len(examples) < MINIMUM_PAIRS:
        raise RefusedError(
            f"{len(examples)} usable pairs, at least {MINIMUM_PAIRS} are needed: record more "
            f"manoeuvres (left out: {_told(skipped)})"
        )
    manoeuvres = len({example.manoeuvre for example in examples})
    if manoeuvres < MINIMUM_MANOEUVRES:
        raise RefusedError(
            f"{manoeuvres} manoeuvres, at least {MINIMUM_MANOEUVRES} are needed to hold some out: "
            f"record more manoeuvres (left out: {_told(skipped)})"
        )
    spread = float(np.std([example.label for example in examples]))
    if spread < MINIMUM_LABEL_SPREAD * task.span:
        raise RefusedError(
            f"the labels of {len(examples)} pairs are all alike (standard deviation {spread:.1f} "
            f"{task.unit}): check the range sensor, or record the whole range"
        )


def _told(skipped: Mapping[str, int]) -> str:
    parts = [f"{count} {reason}" for reason, count in sorted(skipped.items())]
    if not parts:
        return "none"
    commonest = max(skipped, key=lambda reason: skipped[reason])
    return f"{', '.join(parts)}; {REASONS.get(commonest, 'look at them')}"
