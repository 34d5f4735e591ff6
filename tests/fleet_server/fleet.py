"""A small fleet for the tests: records as cars make them, and a server's state folder."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from fleet_server.cars import membership
from fleet_server.ingest.taking import Ingest, Reply
from fleet_server.reading.queries import Queries
from fleet_server.storage.database import Database
from fleet_server.storage.tables import devices
from shared.ids import boot_id, sha256_hex
from shared.manifest import Manifest, Tensor
from shared.messages import Batch, Status
from shared.picture import encode_jpeg
from shared.samples import Characteristics, Estimate, Latency, ManoeuvreEnd, Picture, Sample
from shared.signing import SigningKey, seal
from shared.task import WALL_DISTANCE
from shared.topics import BATCH

BOOT = boot_id(1, b"\1\2\3\4")
DEPLOYMENT = "garage"
START_US = 1_790_000_000_000_000
MODEL = "ab" * 32


@dataclass
class VirtualClock:
    """A clock that stands until it is told to go on."""

    now_us: int = START_US

    def monotonic_us(self) -> int:
        return self.now_us

    def utc_us(self) -> int:
        return self.now_us

    def is_synced(self) -> bool:
        return True

    def sleep_until_us(self, monotonic_us: int) -> None:
        self.now_us = max(self.now_us, monotonic_us)


def jpeg(shade: int) -> bytes:
    """Return a small picture of one grey."""
    return encode_jpeg(np.full((75, 100, 3), shade % 256, dtype=np.uint8))


def look(value: float) -> Characteristics:
    """Return characteristics that are all alike."""
    return Characteristics(
        brightness=value,
        saturation=value,
        hue=value,
        mean_red=value,
        mean_green=value,
        mean_blue=value,
        contrast=value,
        texture=value,
        keypoints=round(value),
    )


def sample(sequence: int, *, device: str = "car-1", **changes: object) -> Sample:
    """Return a labelled sample with a picture of shade `sequence`."""
    fields: dict[str, object] = {
        "task": WALL_DISTANCE.name,
        "device": device,
        "boot": BOOT,
        "sequence": sequence,
        "monotonic_us": sequence * 250_000,
        "utc_us": START_US + sequence * 250_000,
        "clock_synced": True,
        "manoeuvre": sequence // 10,
        "source": "sensor",
        "deployment": DEPLOYMENT,
        "desired_revision": 1,
        "camera": "sim",
        "calibration": "none",
        "label": 300.0 - sequence % 10 * 20.0,
        "label_unit": "mm",
        "sensor_status": "ok",
        "skew_us": 1000,
        "estimates": (),
        "characteristics": look(100.0 + sequence // 10 % 5),
        "latency": Latency(frame_age_us=1, preprocess_us=1, inference_us=1),
        "picture_sha256": sha256_hex(jpeg(sequence)),
    }
    return Sample(**(fields | changes))  # type: ignore[arg-type]  # fields by name


def status(device: str = "car-1", **changes: object) -> Status:
    """Return the report of a car without a model, with nothing to send."""
    fields: dict[str, object] = {
        "device": device,
        "boot": BOOT,
        "utc_us": START_US,
        "clock_synced": True,
        "loaded": None,
        "loaded_release_seq": 0,
        "slots": (),
        "deployment": DEPLOYMENT,
        "desired_epoch": 0,
        "desired_revision": 0,
        "upload": "pictures",
        "queue_depth": 0,
        "pairs_logged": 0,
        "pairs_dropped": 0,
        "disk_free_bytes": 10**9,
        "temperature_c": None,
        "versions": {},
    }
    return Status(**(fields | changes))  # type: ignore[arg-type]  # fields by name


def picture(sequence: int, *, device: str = "car-1", boot: str = BOOT) -> Picture:
    """Return the picture of `sample(sequence)`."""
    body = jpeg(sequence)
    return Picture(device=device, boot=boot, sequence=sequence, sha256=sha256_hex(body), jpeg=body)


def end(manoeuvre: int, *, pairs: int, device: str = "car-1", **changes: object) -> ManoeuvreEnd:
    """Return the end record of a manoeuvre."""
    fields: dict[str, object] = {
        "task": WALL_DISTANCE.name,
        "device": device,
        "boot": BOOT,
        "manoeuvre": manoeuvre,
        "deployment": DEPLOYMENT,
        "source": "sensor",
        "started_utc_us": START_US,
        "ended_utc_us": START_US + 5_000_000,
        "clock_synced": True,
        "pairs": pairs,
        "reason": "target",
        "stop_label": 40.0,
        "stop_estimate": None,
    }
    return ManoeuvreEnd(**(fields | changes))  # type: ignore[arg-type]  # fields by name


def drive(
    manoeuvre: int,
    *,
    device: str = "car-1",
    pairs: int = 10,
    model: str = "",
    error: float = 0.0,
    looks: float = 100.0,
) -> Batch:
    """Return the batch of one manoeuvre, estimated by `model` with a constant error.

    Its pictures all look like `looks`, give or take what one manoeuvre differs from another.
    """
    seen = look(looks + manoeuvre % 5)
    numbers = range(manoeuvre * 10, manoeuvre * 10 + pairs)
    plain = [sample(number, device=device, characteristics=seen) for number in numbers]
    made = [
        sample(
            each.sequence,
            device=device,
            characteristics=seen,
            estimates=(Estimate(model=model, value=(each.label or 0.0) + error),) if model else (),
        )
        for each in plain
    ]
    return Batch(
        device=device,
        samples=tuple(made),
        manoeuvres=(end(manoeuvre, pairs=pairs, device=device),),
        pictures=tuple(picture(number, device=device) for number in numbers),
    )


def manifest(model: bytes = b"model", *, release_seq: int = 1, **changes: object) -> Manifest:
    """Return the manifest of a made-up model with a test error of 4 mm."""
    tensor = Tensor(name="t", shape=(1,), dtype="int8", scale=1.0)
    fields: dict[str, object] = {
        "sha256": sha256_hex(model),
        "size_bytes": len(model),
        "task": WALL_DISTANCE,
        "deployment": DEPLOYMENT,
        "release_seq": release_seq,
        "input": tensor,
        "value": tensor,
        "log_sigma": tensor,
        "preprocessing": "rgb-area-v1",
        "metrics": {"test_mae": 4.0},
        "run_id": "run",
        "dataset_sha256": "0" * 64,
        "minimum_device": "0.1.0",
        "created_utc_us": START_US,
        "trainer": "trainer-1",
    }
    return Manifest(**(fields | changes))  # type: ignore[arg-type]  # fields by name


@dataclass
class Fleet:
    """A server's database with one deployment, and the keys of its cars.

    The database is the one `opened` already, or the SQLite file in `state`.
    """

    state: Path
    clock: VirtualClock = field(default_factory=VirtualClock)
    server_key: SigningKey = field(default_factory=lambda: SigningKey(b"s" * 32))
    keys: dict[str, SigningKey] = field(default_factory=dict)
    opened: Database | None = None

    def __post_init__(self) -> None:
        self.database = self.opened or Database.open(self.state / "server.sqlite", self.clock)
        self.queries = Queries(self.database)
        self.ingest = Ingest(self.database, self.server_key, self.clock)
        if not self.queries.deployments(name=DEPLOYMENT):
            with self.database.write() as connection:
                membership.create_deployment(
                    connection,
                    name=DEPLOYMENT,
                    task=WALL_DISTANCE,
                    actor="test",
                    reason="a test",
                    utc_us=START_US,
                )

    def add_car(self, name: str = "car-1") -> SigningKey:
        """Enrol a car without a code, and return its key."""
        key = self.keys[name] = SigningKey(name.encode().ljust(32, b"."))
        values = {"name": name, "public_key": key.public.raw, "deployment": DEPLOYMENT}
        with self.database.write() as connection:
            connection.execute(insert(devices).values(**values, enrolled_utc_us=START_US))
        return key

    def sealed(self, batch: Batch) -> bytes:
        """Return `batch` as its car sends it."""
        topic = BATCH.topic(id=batch.device)
        return seal(batch, topic=topic, key=self.keys[batch.device])

    def send(self, batch: Batch) -> Reply | None:
        """Take `batch` in as it would come from its car."""
        return self.ingest.take(BATCH.topic(id=batch.device), self.sealed(batch))

    def close(self) -> None:
        """Close the database."""
        self.database.close()
