"""What a car's batch must hold to be taken, beyond what the codec checks: pure rules.

Laws:
- a batch is taken whole or refused whole, with one reason;
- a car speaks for itself alone: every record names the device of the topic it came on;
- a label stands exactly where the sensor said "ok", and no further off than five ranges;
- an estimate, which a bad model may put anywhere, lies within a thousand ranges, so that no sum of
  errors overflows and no one car's numbers keep a list from being shown;
- a picture is what its digest says, and its header shows a size that may be unpacked.

A clock in 1970 or 2040 is no fault: order comes from boot, sequence and time of receipt.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.picture import jpeg_size
from shared.samples import ManoeuvreEnd, Picture, Sample
from shared.task import Task

MAX_PICTURE_SIDE = 2048
"""Pixels; a prepared picture has about 100, so this only keeps decompression bombs out."""

_ABSURD_RANGES = 5.0
_WILD_RANGES = 1000.0


def check(batch: Batch, *, device: str, tasks: Mapping[str, Task]) -> None:
    """Return quietly where `batch` may be stored for `device`.

    Raises:
        RefusedError: a law above is broken; the text says which.
    """
    if batch.device != device:
        raise RefusedError(f"a batch of {batch.device} on the topic of {device}")
    bounds = {name: _bounds(task) for name, task in tasks.items()}
    for sample in batch.samples:
        _check_sample(sample, _checked_record(sample, device, bounds))
    for end in batch.manoeuvres:
        _checked_record(end, device, bounds)
    if batch.pictures:
        digests = {(each.boot, each.sequence): each.picture_sha256 for each in batch.samples}
        for picture in batch.pictures:
            promised = digests.get((picture.boot, picture.sequence), picture.sha256)
            _check_picture(picture, device, promised)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Between which values a task's labels and estimates may lie, and its unit."""

    unit: str
    label_low: float
    label_high: float
    estimate_low: float
    estimate_high: float


def _bounds(task: Task) -> _Bounds:
    absurd, wild = _ABSURD_RANGES * task.span, _WILD_RANGES * task.span
    return _Bounds(
        task.unit, task.low - absurd, task.high + absurd, task.low - wild, task.high + wild
    )


def _checked_record(
    record: Sample | ManoeuvreEnd, device: str, bounds: Mapping[str, _Bounds]
) -> _Bounds:
    if record.device != device:
        raise RefusedError(f"a record of {record.device} in a batch of {device}")
    found = bounds.get(record.task)
    if found is None:
        raise RefusedError(f"no deployment here has the task {record.task!r}")
    return found


def _check_sample(sample: Sample, bounds: _Bounds) -> None:
    label = sample.label
    if (label is None) is (sample.sensor_status == "ok"):
        raise RefusedError(f"sample {sample.sequence}: label and sensor status disagree")
    if label is not None:
        if sample.label_unit != bounds.unit:
            raise RefusedError(f"sample {sample.sequence}: label in {sample.label_unit!r}")
        if not bounds.label_low <= label <= bounds.label_high:
            raise RefusedError(f"sample {sample.sequence}: absurd label {label:g} {bounds.unit}")
    for estimate in sample.estimates:
        if not bounds.estimate_low <= estimate.value <= bounds.estimate_high:
            raise RefusedError(
                f"sample {sample.sequence}: absurd estimate {estimate.value:g} {bounds.unit}"
            )


def _check_picture(picture: Picture, device: str, promised: str | None) -> None:
    name = f"picture {picture.sequence}"
    if picture.device != device:
        raise RefusedError(f"{name} of {picture.device} in a batch of {device}")
    if sha256_hex(picture.jpeg) != picture.sha256:
        raise RefusedError(f"{name}: its bytes are not those of its digest")
    if picture.sha256 != promised:
        raise RefusedError(f"{name}: its sample names another picture")
    height, width = jpeg_size(picture.jpeg)
    if max(height, width) > MAX_PICTURE_SIDE:
        raise RefusedError(f"{name}: {width}x{height}, at most {MAX_PICTURE_SIDE} a side")
