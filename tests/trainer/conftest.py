"""Small things to train on: pictures whose bright bar tells the label."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from shared.ids import sha256_hex
from shared.picture import encode_jpeg
from shared.samples import Latency, Sample
from shared.task import Task
from trainer.data.dataset import Dataset, Indices
from trainer.data.examples import Example
from trainer.worker.client import Pair

if TYPE_CHECKING:
    from tests.trainer.server_double import ServerDouble

TINY = Task(
    name="tiny",
    label="height",
    unit="mm",
    low=0.0,
    high=100.0,
    picture_width=24,
    picture_height=16,
)


@pytest.fixture(scope="session")
def task() -> Task:
    return TINY


def pair(
    sequence: int,
    *,
    manoeuvre: int,
    label: float | None = 50.0,
    seed: int = 0,
    device: str = "car-a",
    deployment: str = "bench",
) -> Pair:
    """Return a stored pair whose picture shows a bar as high as the label says."""
    random = np.random.default_rng((seed, sequence))
    large = np.full((64, 96, 3), 60, dtype=np.uint8)
    cv2.rectangle(large, (0, 0), (95, int(64 * (label or 0.0) / 100.0)), (200, 180, 150), -1)
    picture = np.clip(large + random.normal(0, 4, large.shape), 0, 255).astype(np.uint8)
    jpeg = encode_jpeg(picture)
    sample = Sample(
        task=TINY.name,
        device=device,
        boot="00000001-0a0b0c0d",
        sequence=sequence,
        monotonic_us=sequence * 250_000,
        utc_us=sequence * 250_000,
        clock_synced=True,
        manoeuvre=manoeuvre,
        source="sensor",
        deployment=deployment,
        desired_revision=1,
        camera="bars",
        calibration="none",
        label=label,
        label_unit="mm",
        sensor_status="ok" if label is not None else "no_reading",
        skew_us=0,
        estimates=(),
        characteristics=None,
        latency=Latency(frame_age_us=0, preprocess_us=0, inference_us=0),
        picture_sha256=sha256_hex(jpeg),
    )
    return Pair(sample=sample, jpeg=jpeg)


def recorded_pairs(manoeuvres: int = 10, each: int = 14) -> Iterator[Pair]:
    """Return pairs whose labels fall through the whole range in every manoeuvre."""
    random = np.random.default_rng(7)
    for manoeuvre in range(manoeuvres):
        for step in range(each):
            label = float(np.clip(100 * (1 - step / (each - 1)) + random.normal(0, 1), 0, 100))
            yield pair(manoeuvre * each + step, manoeuvre=manoeuvre, label=label)


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    return list(recorded_pairs())


def example(
    number: int,
    *,
    label: float = 50.0,
    manoeuvre: str = "",
    device: str = "car-a",
    setting: str = "bench",
    utc_us: int = 0,
) -> Example:
    """Return an example without a picture that could be read."""
    return Example(
        key=f"{setting}/{device}/{number:06d}",
        manoeuvre=manoeuvre or f"{setting}/{device}/{number // 5:04d}",
        device=device,
        setting=setting,
        digest=f"{number:064x}",
        label=label,
        utc_us=utc_us,
        jpeg=b"",
    )


def blank(examples: Sequence[Example]) -> Dataset:
    """Return `examples` as a data set of TINY whose pictures are of one pixel."""
    ordered = sorted(examples, key=lambda each: each.key)

    def numbered(names: list[str]) -> tuple[tuple[str, ...], Indices]:
        unique, numbers = np.unique(names, return_inverse=True)
        return tuple(unique.tolist()), numbers.astype(np.int64)

    manoeuvre_names, manoeuvres = numbered([each.manoeuvre for each in ordered])
    setting_names, settings = numbered([each.setting for each in ordered])
    device_names, devices = numbered([each.device for each in ordered])
    return Dataset(
        task=TINY,
        examples=tuple(ordered),
        pictures=np.zeros((len(ordered), 1, 1, 3), dtype=np.uint8),
        labels=np.asarray([each.label / 100.0 for each in ordered], dtype=np.float32),
        manoeuvres=manoeuvres,
        manoeuvre_names=manoeuvre_names,
        settings=settings,
        setting_names=setting_names,
        devices=devices,
        device_names=device_names,
        sha256="0" * 64,
        skipped={},
    )


@pytest.fixture(scope="session")
def _prepared() -> None:
    from trainer import runtime

    runtime.prepare(2)


@pytest.fixture(scope="session")
def done(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[Pair], _prepared: None
) -> "tuple[ServerDouble, Path]":
    """One job brought to its end: away server, lost answer and all; only to be looked at."""
    from tests.trainer.server_double import ServerDouble
    from tests.trainer.shop import work_on
    from tests.trainer.test_sign import empty_role

    state = tmp_path_factory.mktemp("state")
    double = ServerDouble(pairs=pairs, role=empty_role(), away=2, drop_answer=True)
    work_on(double, state)
    return double, state
