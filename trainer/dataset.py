"""Labelled pictures as arrays, and their split into three parts that share no manoeuvre.

Laws:
- a pair counts only with a label that the sensor vouches for, inside the task's range, and with a
  picture whose bytes match their digest; what was left out is counted with its reason;
- the digest depends on which pairs are in and on nothing else: not on order, pages or batches;
- pictures of one manoeuvre look alike, so a split never cuts one in two;
- every part holds manoeuvres from the whole time and from every device that has enough of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.picture import Pixels, decode_jpeg, prepare
from shared.samples import Sample, content_hash
from shared.task import Task

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

MINIMUM_PAIRS = 60
MINIMUM_MANOEUVRES = 5
MINIMUM_LABEL_SPREAD = 0.02
"""The least standard deviation of the labels, as a share of the task's range: 7 of 350 mm."""


@dataclass(frozen=True)
class Example:
    """One labelled picture before it is unpacked.

    `key` orders and identifies it, `manoeuvre` names what must stay together (names sort in the
    order in which things happened), `digest` covers its content; `label` is in the task's unit.
    """

    key: str
    manoeuvre: str
    digest: str
    label: float
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples as arrays, ordered by key.

    `pictures` is uint8, n x height x width x 3; `labels` is float32, n, 0..1 over the task's range;
    `manoeuvres` holds a number 0..m-1 for each example, in order of the manoeuvres' names.
    """

    task: Task
    pictures: Pixels
    labels: Floats
    manoeuvres: Indices
    sha256: str
    skipped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: Indices) -> "Part":
        """Return the pictures and labels of `rows`."""
        return Part(self.pictures[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a data set: pictures (uint8, n x height x width x 3), labels (float32, n, 0..1)."""

    pictures: Pixels
    labels: Floats

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts; together every row once."""

    train: Indices
    validation: Indices
    test: Indices


def from_pair(sample: Sample, jpeg: bytes | None, task: Task) -> Example | str:
    """Return the example in a stored pair, or the reason why it does not count."""
    if sample.task != task.name:
        return "other_task"
    if sample.sensor_status != "ok" or sample.label is None:
        return "no_label"
    if not task.low <= sample.label <= task.high:
        return "label_out_of_range"
    if jpeg is None:
        return "no_picture"
    if sha256_hex(jpeg) != sample.picture_sha256:
        return "picture_damaged"
    origin = f"{sample.device}/{sample.boot}"
    return Example(
        key=f"{origin}/{sample.sequence:012d}",
        manoeuvre=f"{origin}/{sample.manoeuvre:09d}",
        digest=content_hash(sample),
        label=sample.label,
        jpeg=jpeg,
    )


def assemble(candidates: Iterable[Example | str], task: Task) -> Dataset:
    """Return the data set of all examples among `candidates`; reasons among them are counted.

    Raises:
        RefusedError: too few examples or manoeuvres are left, or their labels are all alike; the
            text names the count and the remedy.
    """
    skipped: Counter[str] = Counter()
    examples: dict[str, tuple[Example, Pixels]] = {}
    for candidate in candidates:
        if isinstance(candidate, str):
            skipped[candidate] += 1
            continue
        try:
            picture = prepare(decode_jpeg(candidate.jpeg), task)
        except RefusedError:
            skipped["picture_unreadable"] += 1
            continue
        examples[candidate.key] = (candidate, picture)
    _require_enough([example for example, _ in examples.values()], skipped, task)
    ordered = [examples[key] for key in sorted(examples)]
    _, manoeuvres = np.unique([example.manoeuvre for example, _ in ordered], return_inverse=True)
    labels = [(example.label - task.low) / task.span for example, _ in ordered]
    return Dataset(
        task=task,
        pictures=np.stack([picture for _, picture in ordered]),
        labels=np.asarray(labels, dtype=np.float32),
        manoeuvres=manoeuvres.astype(np.int64),
        sha256=digest(example for example, _ in ordered),
        skipped=dict(sorted(skipped.items())),
    )


def digest(examples: Iterable[Example]) -> str:
    """Return the SHA-256 over keys and content digests in the order of the keys."""
    running = sha256()
    for key, content in sorted({(example.key, example.digest) for example in examples}):
        running.update(f"{key} {content}\n".encode())
    return running.hexdigest()


def _require_enough(examples: Sequence[Example], skipped: Mapping[str, int], task: Task) -> None:
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "none"
    if len(examples) < MINIMUM_PAIRS:
        raise RefusedError(
            f"{len(examples)} usable pairs, at least {MINIMUM_PAIRS} are needed: record more "
            f"manoeuvres (left out: {left_out})"
        )
    manoeuvres = len({example.manoeuvre for example in examples})
    if manoeuvres < MINIMUM_MANOEUVRES:
        raise RefusedError(
            f"{manoeuvres} manoeuvres, at least {MINIMUM_MANOEUVRES} are needed to hold some out: "
            f"record more manoeuvres (left out: {left_out})"
        )
    spread = float(np.std([example.label for example in examples]))
    if spread < MINIMUM_LABEL_SPREAD * task.span:
        raise RefusedError(
            f"the labels of {len(examples)} pairs are all alike (standard deviation {spread:.1f} "
            f"{task.unit}): check the range sensor, or record the whole range"
        )


def split(
    dataset: Dataset, *, seed: int, validation_share: float = 0.12, test_share: float = 0.15
) -> Split:
    """Return `dataset` split by manoeuvre.

    Systematic sampling: the manoeuvres, ordered by device and time, are cut into as many runs as a
    part needs manoeuvres, and one of each run is drawn, so that a part spans devices and settings.
    """
    random = np.random.default_rng(seed)
    manoeuvres = np.unique(dataset.manoeuvres)
    test = _one_of_each_run(manoeuvres, test_share, random)
    rest = np.setdiff1d(manoeuvres, test)
    validation = _one_of_each_run(rest, validation_share / (1 - test_share), random)
    train = np.setdiff1d(rest, validation)
    return Split(*(_rows(dataset, chosen) for chosen in (train, validation, test)))


def _one_of_each_run(manoeuvres: Indices, share: float, random: np.random.Generator) -> Indices:
    count = max(1, round(share * len(manoeuvres)))
    drawn = [random.choice(run) for run in np.array_split(manoeuvres, count)]
    return np.asarray(drawn, dtype=np.int64)


def _rows(dataset: Dataset, manoeuvres: Indices) -> Indices:
    return np.flatnonzero(np.isin(dataset.manoeuvres, manoeuvres)).astype(np.int64)


def label_bins(labels: Floats, count: int = 10) -> Indices:
    """Return each label's bin 0..count-1; the bins are of equal width over 0..1."""
    return np.clip((labels * count).astype(np.int64), 0, count - 1)
