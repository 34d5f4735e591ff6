"""What the server shows of itself: frozen records, as REST, the console and the terminal see them.

Laws:
- a view is complete and plain: text, numbers, tuples and dictionaries of these;
- times are UTC microseconds, labels and errors in the task's unit;
- `id` is the row's id, which is also its cursor.
"""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Page(Generic[V]):
    """A stretch of a list; `next_cursor` asks for what follows and is None at the end."""

    items: tuple[V, ...]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class DeviceView:
    """A car: what is wanted of it, what it reports, what is stored of it.

    `loaded` is the digest that the car has in memory; `pairs_logged` counts on the car,
    `pairs_stored` here. `update` is the last step of a model update: its state and reason.
    `state` is unconfirmed, confirmed or revoked; `presence` online, silent (connected, and nothing
    is heard of it) or offline, and `silences` counts how often it fell silent.
    """

    id: int
    device: str
    deployment: str
    fingerprint: str
    enrolled_utc_us: int
    online: bool
    last_seen_utc_us: int | None
    boot: str | None
    loaded: str | None
    loaded_version: int | None
    desired_target: str | None
    desired_version: int | None
    desired_revision: int | None
    reported_revision: int | None
    queue_depth: int | None
    pairs_logged: int | None
    pairs_dropped: int | None
    pairs_stored: int
    upload: str | None
    temperature_c: float | None
    disk_free_bytes: int | None
    faults: tuple[str, ...]
    update: str | None
    state: str = "confirmed"
    presence: str = "offline"
    silences: int = 0
    silent_since_utc_us: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DeploymentView:
    """A setting with its cars; `latest` is the newest version promoted in it.

    Its cars run `pinned_version`, or `latest` where that is None. `status` is active or retired;
    `pairs_stored` counts the samples filed under it.
    """

    id: int
    name: str
    task: dict[str, object]
    created_utc_us: int
    latest: str | None
    latest_version: int | None
    devices: int
    status: str = "active"
    pinned_version: int | None = None
    pairs_stored: int = 0


@dataclass(frozen=True, kw_only=True)
class SampleView:
    """One stored pair; `record` is the sample as the car recorded it."""

    id: int
    device: str
    boot: str
    sequence: int
    manoeuvre: int
    deployment: str
    label: float | None
    received_utc_us: int
    batch: int
    has_picture: bool
    record: dict[str, object]

    @property
    def estimate(self) -> float | None:
        """What the model that steered made of it; None where none did."""
        estimates: Any = self.record.get("estimates") or ()
        return float(estimates[0]["value"]) if estimates else None


@dataclass(frozen=True, kw_only=True)
class ManoeuvreView:
    """One manoeuvre that ended.

    `model` is the digest that made most of its estimates and `mae` that model's mean of
    |estimate - label| over the samples stored so far, None without a model. `pairs` were logged on
    the car, `pairs_stored` have arrived.
    """

    id: int
    device: str
    boot: str
    manoeuvre: int
    deployment: str
    source: str
    reason: str
    started_utc_us: int
    ended_utc_us: int
    received_utc_us: int
    pairs: int
    pairs_stored: int
    model: str | None
    model_version: int | None
    mae: float | None
    mean_label: float | None
    stop_label: float | None
    stop_estimate: float | None


@dataclass(frozen=True, kw_only=True)
class BatchView:
    """One received message; `sha256` is the digest of its bytes."""

    id: int
    device: str
    sha256: str
    received_utc_us: int
    samples: int
    manoeuvres: int
    pictures: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class QuarantineView:
    """A message that was refused; `repeats` counts how often the same bytes came again."""

    id: int
    device: str
    sha256: str
    reason: str
    received_utc_us: int
    size_bytes: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """A registered model; `latest` tells whether its deployment runs it."""

    id: int
    sha256: str
    deployment: str
    version: int
    release_seq: int
    path: str
    latest: bool
    registered_utc_us: int
    job: int | None
    reference_mae: float | None
    manifest: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A training job. `fraction` is 0 to 1; `model` is its result once `state` is "done"."""

    id: int
    deployment: str
    reason: str
    decision: int
    verdict: int | None
    state: str
    created_utc_us: int
    changed_utc_us: int
    worker: str | None
    attempt: int
    lease_until_utc_us: int | None
    release_seq: int | None
    cut_sample: int | None
    cut_picture: int | None
    stage: str
    fraction: float
    message: str
    model: str | None
    trials: int = 0


@dataclass(frozen=True, kw_only=True)
class DecisionView:
    """An entry of the log book: what was changed, by whom, why, and on which numbers."""

    id: int
    utc_us: int
    deployment: str
    actor: str
    kind: str
    reason: str
    evidence: dict[str, object]
    verdict: int | None
    model: str | None


@dataclass(frozen=True, kw_only=True)
class VerdictView:
    """What was found out about a model on a car in its deployment.

    `kind` is drift (the error rose), sensor or change; `hurts` tells whether the error rose, and
    `is_estimate` that it is made of the model's own sigma, since no sensor measured it. `error` and
    `normal` are mean errors in the task's unit, None where nothing is known. `cause` may be named
    later than the verdict was found, at `changed_utc_us`; it is open until `cleared_utc_us`.
    """

    id: int
    utc_us: int
    deployment: str
    model: str
    device: str
    kind: str
    subject: str
    cause: str
    hurts: bool
    is_estimate: bool
    error: float | None
    normal: float | None
    reason: str
    evidence: dict[str, object]
    changed_utc_us: int | None
    cleared_utc_us: int | None
    cleared_reason: str


@dataclass(frozen=True, kw_only=True)
class RolloutView:
    """How far a promoted model has come: the cars that are to run it and those that do."""

    deployment: str
    model: str
    version: int
    promoted_utc_us: int
    decision: int
    wanted: int
    loaded: int


@dataclass(frozen=True, kw_only=True)
class HistoryView:
    """A car began to run a model."""

    id: int
    device: str
    model: str
    version: int | None
    release_seq: int
    since_utc_us: int


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The fleet in numbers; `jobs` counts training jobs by state."""

    devices: int
    online: int
    pairs_stored: int
    pictures: int
    batches: int
    manoeuvres: int
    models: int
    quarantined: int
    decisions: int
    jobs: dict[str, int]
