"""Releases for the tests of this room."""

from shared.ids import sha256_hex
from shared.manifest import Manifest, Tensor
from shared.task import WALL_DISTANCE


def manifest(model: bytes, *, release_seq: int = 1, deployment: str = "beige") -> Manifest:
    """Return a manifest of `model`, whose tensors are those of the real trainer's models."""
    return Manifest(
        sha256=sha256_hex(model),
        size_bytes=len(model),
        task=WALL_DISTANCE,
        deployment=deployment,
        release_seq=release_seq,
        input=Tensor(
            name="picture", shape=(1, 75, 100, 3), dtype="int8", scale=1 / 255, zero_point=-128
        ),
        value=Tensor(name="value", shape=(1, 1), dtype="int8", scale=1 / 255, zero_point=-128),
        log_sigma=Tensor(name="log_sigma", shape=(1, 1), dtype="int8", scale=0.05, zero_point=0),
        preprocessing="rgb-area-v1",
        metrics={"mae_mm": 5.0},
        run_id="run-1",
        dataset_sha256="e" * 64,
        minimum_device="0.1.0",
        created_utc_us=1_700_000_000_000_000,
        trainer="trainer-1",
    )
