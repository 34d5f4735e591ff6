"""The manifest of a converted model: read from the file, not from what was meant to be in it.

Law: a manifest is built from the bytes that will be shipped and from the evaluation of those bytes.
"""

from shared import __version__
from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.picture import PREPROCESSING_ID
from shared.task import Task
from trainer.judging import evaluate
from trainer.learning.tensors import LOG_SIGMA, PICTURE, VALUE


def build(
    model: bytes,
    *,
    task: Task,
    deployment: str,
    release_seq: int,
    metrics: dict[str, float],
    run_id: str,
    dataset_sha256: str,
    created_utc_us: int,
    trainer: str,
) -> Manifest:
    """Return the manifest of `model`, with its answers to the golden pictures.

    Raises:
        RefusedError: LiteRT does not load `model`, or its tensors are not the ones expected.
    """
    found = evaluate.tensors(model)
    return Manifest(
        sha256=sha256_hex(model),
        size_bytes=len(model),
        task=task,
        deployment=deployment,
        release_seq=release_seq,
        input=found[PICTURE],
        value=found[VALUE],
        log_sigma=found[LOG_SIGMA],
        preprocessing=PREPROCESSING_ID,
        metrics=metrics,
        run_id=run_id,
        dataset_sha256=dataset_sha256,
        minimum_device=__version__,
        created_utc_us=created_utc_us,
        trainer=trainer,
        golden=evaluate.golden_answers(model, task),
    )


def metrics(judged: evaluate.Judgement) -> dict[str, float]:
    """Return what a manifest says of a model's quality; errors are in the task's unit.

    All numbers are from manoeuvres held out of training; `float_mae` is that of the network which
    the file was made from, `baseline_mae` that of kernel ridge regression on 20 x 15 pixels,
    `in_service_mae` that of the model it was compared with, the others are the converted file's in
    LiteRT; `latency_us` is the trainer's machine's.
    """
    converted = judged.converted
    told = {
        "test_mae": converted.mae,
        "test_p95": converted.p95,
        "test_bias": converted.bias,
        "test_pictures": float(converted.pictures),
        "within_1_sigma": converted.within_1_sigma,
        "within_2_sigma": converted.within_2_sigma,
        "float_mae": judged.original.mae,
        "baseline_mae": judged.baseline_mae,
        "latency_us": judged.latency_us,
    }
    if judged.in_service is not None:
        told["in_service_mae"] = judged.in_service.mae
    return told
