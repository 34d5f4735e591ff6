"""One labelled picture before it is unpacked: what of a stored pair counts, and why not.

Laws:
- a pair counts only with a label that the sensor vouches for, inside the task's range, and with a
  picture whose bytes match their digest;
- what does not count is a reason, one of `REASONS`, so that it can be counted and remedied.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.ids import sha256_hex
from shared.samples import Sample, content_hash
from shared.task import Task

REASONS: Final[Mapping[str, str]] = {
    "other_task": "give the task that these pairs were recorded for",
    "no_label": "check the range sensor",
    "label_out_of_range": "the model's scale cannot hold them: give a task with a wider range",
    "no_picture": "let the cars upload their pictures",
    "picture_damaged": "record them again: the stored bytes are not those that were recorded",
    "picture_unreadable": "record them again: they are no JPEG that can be read",
    "bad_file_name": "name pictures inside images/",
    "not_asked_for": "ask for more deployments, devices or time",
    "beyond_the_limit": "raise most_pairs",
    "device_above_a_tenth": "record with the other devices",
}
"""Why a pair is left out, and what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One labelled picture, still packed.

    `key` orders and identifies it, `manoeuvre` names what must stay together (names of one device
    sort in the order in which things happened), `digest` covers its content; `label` is in the
    task's unit; `setting` is the deployment it was recorded in; `utc_us` is when, 0 if unknown.
    """

    key: str
    manoeuvre: str
    device: str
    setting: str
    digest: str
    label: float
    utc_us: int = 0
    jpeg: bytes = field(repr=False)


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
        device=sample.device,
        setting=sample.deployment,
        digest=content_hash(sample),
        label=sample.label,
        utc_us=sample.utc_us,
        jpeg=jpeg,
    )
