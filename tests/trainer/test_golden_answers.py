"""A manifest tells what the converted file answers to the golden pictures."""

from pathlib import Path

import msgspec
import numpy as np

from shared import golden
from shared.manifest import Manifest
from shared.task import WALL_DISTANCE
from trainer.judging import evaluate
from trainer.pipeline import manifest

MODELS = Path(__file__).parents[1] / "golden" / "models"
MODEL = (MODELS / "two-floors.tflite").read_bytes()
RECORDED = Manifest.from_json((MODELS / "two-floors.golden.json").read_bytes())


def test_the_answers_are_those_of_the_file_within_two_steps() -> None:
    told = evaluate.golden_answers(MODEL, WALL_DISTANCE)
    assert told is not None
    assert RECORDED.golden is not None
    assert told.pictures == RECORDED.golden.pictures == golden.set_id(golden.pictures())
    for here, recorded in (
        (told.value, RECORDED.golden.value),
        (told.log_sigma, RECORDED.golden.log_sigma),
    ):
        assert np.abs(np.subtract(here, recorded)).max() <= 2
    assert np.ptp(told.value) > 50


def test_a_task_of_another_picture_size_has_none() -> None:
    assert evaluate.golden_answers(MODEL, msgspec.structs.replace(RECORDED.task, low=1.0))
    wide = msgspec.structs.replace(RECORDED.task, picture_width=128)
    assert evaluate.golden_answers(MODEL, wide) is None


def test_a_new_manifest_holds_them() -> None:
    built = manifest.build(
        MODEL,
        task=RECORDED.task,
        deployment=RECORDED.deployment,
        release_seq=RECORDED.release_seq,
        metrics=RECORDED.metrics,
        run_id=RECORDED.run_id,
        dataset_sha256=RECORDED.dataset_sha256,
        created_utc_us=RECORDED.created_utc_us,
        trainer=RECORDED.trainer,
    )
    assert built.golden == evaluate.golden_answers(MODEL, RECORDED.task)
    assert msgspec.structs.replace(built, golden=None) == msgspec.structs.replace(
        RECORDED, golden=None, minimum_device=built.minimum_device
    )
