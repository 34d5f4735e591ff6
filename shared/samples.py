"""The recorded pair: one picture's estimates beside the reference sensor's label.

Laws:
- a sample is identified by (device, boot, sequence) and by nothing else;
- its content hash covers every field but not the picture's bytes (only their digest), so that a
  picture asked for later is no conflict;
- a sample never changes once it is written: what is learned later is another record.
"""

from typing import Annotated, Literal

import msgspec

from shared.ids import BootId, DeviceName, Name, SampleKey, Sha256, sha256_hex

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A counter that every JSON and SQL reader can hold exactly."""

Reason = Annotated[str, msgspec.Meta(max_length=200)]

SensorStatus = Literal["ok", "out_of_range", "no_reading", "error", "absent"]
"""What the reference sensor said of itself; only `ok` carries a label."""

Source = Literal["model", "sensor"]
"""What steered speed and buzzer."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of what is stored and sent: immutable, keyword-only, closed to unknown fields."""


class Estimate(Record, frozen=True):
    """One model's answer to one picture, in the task's unit; `sigma` is one standard deviation."""

    model: Sha256
    value: float
    sigma: float | None = None


class Latency(Record, frozen=True):
    """Where the time of one sample went, in microseconds."""

    frame_age_us: Count
    preprocess_us: Count
    inference_us: Count


class Characteristics(Record, frozen=True):
    """Statistics of a picture, so that drift can be watched where pictures may not leave the car.

    Brightness, saturation, hue, contrast and the channel means are on the 0..255 scale (hue on
    OpenCV's 0..179); texture is the variance of the Laplacian; keypoints counts FAST corners.
    """

    brightness: float
    saturation: float
    hue: float
    mean_red: float
    mean_green: float
    mean_blue: float
    contrast: float
    texture: float
    keypoints: Count


class Sample(Record, frozen=True):
    """One labelled picture, without the picture's bytes.

    `label` is in `label_unit` and None unless `sensor_status` is "ok". `skew_us` is how far in time
    the label lay from the picture before interpolation.
    """

    task: Name
    device: DeviceName
    boot: BootId
    sequence: Count
    monotonic_us: Count
    utc_us: Count
    clock_synced: bool
    manoeuvre: Count
    source: Source
    deployment: Name
    desired_revision: Count
    camera: Name
    calibration: Name
    label: float | None
    label_unit: Annotated[str, msgspec.Meta(max_length=16)]
    sensor_status: SensorStatus
    skew_us: Count
    estimates: Annotated[tuple[Estimate, ...], msgspec.Meta(max_length=4)]
    characteristics: Characteristics | None
    latency: Latency
    picture_sha256: Sha256 | None

    @property
    def key(self) -> SampleKey:
        """The sample's identity."""
        return SampleKey(self.device, self.boot, self.sequence)


class Picture(Record, frozen=True):
    """The JPEG of one sample, sent apart from it."""

    device: DeviceName
    boot: BootId
    sequence: Count
    sha256: Sha256
    jpeg: Annotated[bytes, msgspec.Meta(max_length=96 * 1024)]


class ManoeuvreEnd(Record, frozen=True):
    """How a manoeuvre ended; key (device, boot, manoeuvre).

    `reason` is "target" where the car stopped where it meant to, else the fault's name. `pairs` is
    the number of samples logged in it, so that the server knows when it has seen them all.
    """

    task: Name
    device: DeviceName
    boot: BootId
    manoeuvre: Count
    deployment: Name
    source: Source
    started_utc_us: Count
    ended_utc_us: Count
    clock_synced: bool
    pairs: Count
    reason: Reason
    stop_label: float | None
    stop_estimate: float | None


_canonical = msgspec.msgpack.Encoder(order="sorted")


def content_hash(record: Sample | ManoeuvreEnd) -> str:
    """Return the SHA-256 of `record` in its canonical form (msgpack, sorted keys)."""
    return sha256_hex(_canonical.encode(record))
