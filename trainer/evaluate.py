"""The converted file judged in the runtime that will run it, beside the float network.

Laws:
- a model that loads proves nothing: what counts is what LiteRT answers to pictures of manoeuvres
  never trained on;
- errors are in the task's unit, against the sensor's labels, the sensor's own noise included;
- the pictures go in as a car puts them in: int8, one at a time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from shared import golden
from shared.clock import Clock
from shared.errors import RefusedError
from shared.manifest import Golden, Tensor
from shared.picture import Pixels
from shared.samples import Record
from shared.task import Task
from trainer.dataset import Floats, Part, label_bins
from trainer.network import LOG_SIGMA, PICTURE, VALUE
from trainer.runtime import quiet

BINS = 7


class LabelBin(Record, frozen=True):
    """The pictures with a label in `low`..`high` (task's unit) and their mean absolute error."""

    low: float
    high: float
    pictures: int
    mae: float


class Evaluation(Record, frozen=True):
    """How good a model is on pictures of manoeuvres that it never saw.

    Errors are in the task's unit; `within_1_sigma` and `within_2_sigma` are the shares of pictures
    whose error is at most so many of the model's own sigma (0.68 and 0.95 where sigma is right).
    """

    pictures: int
    mae: float
    p95: float
    bias: float
    within_1_sigma: float
    within_2_sigma: float
    bins: tuple[LabelBin, ...]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a file answered: values and log sigmas (float32, n); the median time of one answer."""

    values: Floats
    log_sigmas: Floats
    latency_us: float


def tensors(model: bytes) -> Mapping[str, Tensor]:
    """Return input and outputs of the file by name, as LiteRT reports them.

    Raises:
        RefusedError: the file does not load or its tensors are not the three that must be there.
    """
    loaded = _load(model)
    found = {}
    for detail in [*loaded.get_input_details(), *loaded.get_output_details()]:
        scale, zero_point = detail["quantization"]
        found[detail["name"]] = Tensor(
            name=detail["name"],
            shape=tuple(int(size) for size in detail["shape"]),
            dtype=np.dtype(detail["dtype"]).name,
            scale=float(scale),
            zero_point=int(zero_point),
        )
    if set(found) != {PICTURE, VALUE, LOG_SIGMA}:
        raise RefusedError(f"the converted file has tensors {sorted(found)}")
    return found


def run(model: bytes, part: Part, *, clock: Clock) -> Answers:
    """Return what the int8 file `model` answers to every picture of `part`.

    Raises:
        RefusedError: the file does not load or its tensors are not the three that must be there.
    """
    contract = tensors(model)
    answer = _answering(model)
    outputs = np.zeros((2, len(part)), dtype=np.float32)
    took_us = np.zeros(len(part))
    for row, picture in enumerate(part.pictures):
        started_us = clock.monotonic_us()
        for line, (name, quantised) in enumerate(answer(picture).items()):
            outputs[line, row] = contract[name].scale * (quantised - contract[name].zero_point)
        took_us[row] = clock.monotonic_us() - started_us
    return Answers(outputs[0], outputs[1], float(np.median(took_us)))


def golden_answers(model: bytes, task: Task) -> Golden | None:
    """Return what `model` answers to the golden pictures; None where `task` takes another size.

    Raises:
        RefusedError: the file does not load.
    """
    shown = golden.pictures()
    if not golden.suits(shown, task):
        return None
    answer = _answering(model)
    answers = [answer(picture) for picture in shown]
    return Golden(
        pictures=golden.set_id(shown),
        value=tuple(each[VALUE] for each in answers),
        log_sigma=tuple(each[LOG_SIGMA] for each in answers),
    )


def judge(values: Floats, log_sigmas: Floats, labels: Floats, task: Task) -> Evaluation:
    """Return the evaluation of answers (0..1) against `labels` (0..1)."""
    errors = (values - labels) * task.span
    absolute = np.abs(errors)
    sigmas = np.exp(log_sigmas) * task.span
    return Evaluation(
        pictures=len(labels),
        mae=float(absolute.mean()),
        p95=float(np.percentile(absolute, 95)),
        bias=float(errors.mean()),
        within_1_sigma=float(np.mean(absolute <= sigmas)),
        within_2_sigma=float(np.mean(absolute <= 2 * sigmas)),
        bins=_per_bin(absolute, labels, task),
    )


def _per_bin(absolute: Floats, labels: Floats, task: Task) -> tuple[LabelBin, ...]:
    numbers = label_bins(labels, BINS)
    width = task.span / BINS
    return tuple(
        LabelBin(
            low=task.low + width * number,
            high=task.low + width * (number + 1),
            pictures=int(np.sum(numbers == number)),
            mae=float(absolute[numbers == number].mean()),
        )
        for number in np.unique(numbers).tolist()
    )


def _answering(model: bytes) -> Callable[[Pixels], dict[str, int]]:
    """Return what answers to a picture: `value` and `log_sigma`, quantised, in that order."""
    loaded = _load(model)
    at = {
        detail["name"]: detail["index"]
        for detail in [*loaded.get_input_details(), *loaded.get_output_details()]
    }

    def answer(picture: Pixels) -> dict[str, int]:
        loaded.set_tensor(at[PICTURE], (picture.astype(np.int16) - 128).astype(np.int8)[np.newaxis])
        loaded.invoke()
        return {name: int(loaded.get_tensor(at[name])[0, 0]) for name in (VALUE, LOG_SIGMA)}

    return answer


def _load(model: bytes) -> Interpreter:
    try:
        with quiet():
            loaded = Interpreter(model_content=model, num_threads=1)
            loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise RefusedError(f"the converted file does not load: {error}"[:200]) from None
    return loaded
