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

from shared.errors import RefusedError
from shared.ids import SampleKey, sha256_hex
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
    digests: dict[SampleKey, str | None] = {}
    for sample in batch.samples:
        _check_record(sample, device, tasks)
        _check_label(sample, tasks[sample.task])
        _check_estimates(sample, tasks[sample.task])
        digests[sample.key] = sample.picture_sha256
    for end in batch.manoeuvres:
        _check_record(end, device, tasks)
    for picture in batch.pictures:
        key = SampleKey(picture.device, picture.boot, picture.sequence)
        _check_picture(picture, device, digests.get(key, picture.sha256))


def _check_record(record: Sample | ManoeuvreEnd, device: str, tasks: Mapping[str, Task]) -> None:
    if record.device != device:
        raise RefusedError(f"a record of {record.device} in a batch of {device}")
    if record.task not in tasks:
        raise RefusedError(f"no deployment here has the task {record.task!r}")


def _check_label(sample: Sample, task: Task) -> None:
    if (sample.label is None) is (sample.sensor_status == "ok"):
        raise RefusedError(f"sample {sample.sequence}: label and sensor status disagree")
    if sample.label is None:
        return
    if sample.label_unit != task.unit:
        raise RefusedError(f"sample {sample.sequence}: label in {sample.label_unit!r}")
    slack = _ABSURD_RANGES * task.span
    if not task.low - slack <= sample.label <= task.high + slack:
        raise RefusedError(f"sample {sample.sequence}: absurd label {sample.label:g} {task.unit}")


def _check_estimates(sample: Sample, task: Task) -> None:
    limit = _WILD_RANGES * task.span
    for estimate in sample.estimates:
        if not task.low - limit <= estimate.value <= task.high + limit:
            raise RefusedError(
                f"sample {sample.sequence}: absurd estimate {estimate.value:g} {task.unit}"
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
