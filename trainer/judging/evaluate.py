"""The converted file judged in the runtime that will run it, beside the float network.

Laws:
- a model that loads proves nothing: what counts is what LiteRT answers to pictures of manoeuvres
  never trained on;
- errors are in the task's unit, against the sensor's labels, the sensor's own noise included;
- figures are told for the whole, and for every setting, label bin and device;
- the pictures go in as a car puts them in: int8, one at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from shared import golden
from shared.clock import Clock
from shared.errors import RefusedError
from shared.manifest import Golden, Tensor, to_label
from shared.picture import Pixels
from shared.samples import Record
from shared.task import Task
from trainer.data.dataset import Dataset, Floats, Indices, Part, label_bins
from trainer.learning.calibrate import coverage
from trainer.learning.tensors import LOG_SIGMA, PICTURE, VALUE
from trainer.runtime import quiet

BINS = 7


class LabelBin(Record, frozen=True):
    """The pictures with a label in `low`..`high` (task's unit) and their mean absolute error."""

    low: float
    high: float
    pictures: int
    mae: float


class Slice(Record, frozen=True):
    """The pictures of one setting or one device; figures as in `Evaluation`."""

    name: str
    pictures: int
    mae: float
    bias: float
    within_1_sigma: float
    within_2_sigma: float


class Evaluation(Record, frozen=True):
    """How good a model is on pictures of manoeuvres that it never saw.

    Errors are in the task's unit; `within_1_sigma` and `within_2_sigma` are the shares of pictures
    whose error is at most so many of the model's own sigma (0.68 and 0.95 where sigma is right),
    `within_1_error` and `within_2_error` the standard errors of these shares, manoeuvres being what
    was drawn at random.
    """

    pictures: int
    manoeuvres: int
    mae: float
    p95: float
    bias: float
    within_1_sigma: float
    within_2_sigma: float
    within_1_error: float
    within_2_error: float
    bins: tuple[LabelBin, ...]
    settings: tuple[Slice, ...]
    devices: tuple[Slice, ...]


class Judgement(Record, frozen=True):
    """The converted file beside the float network and the model in service, on the same pictures.

    `lost_error` is the standard error of what int8 lost against float, picture by picture.
    `baseline_mae` is the error of kernel ridge regression on 20 x 15 pixels, on the same split.
    `in_service` is None where there is none, or none for this task. `value_low` and `value_high`
    are the ends of what the file can answer, in the task's unit; `latency_us` is the median time of
    one answer on the trainer's machine, one thread. `calibration` is the converted file on the
    manoeuvres that sigma was set by, None in a run of an earlier version.
    """

    converted: Evaluation
    original: Evaluation
    lost_error: float
    in_service: Evaluation | None
    baseline_mae: float
    latency_us: float
    size_bytes: int
    value_low: float
    value_high: float
    calibration: Evaluation | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOut:
    """The pictures that judge: with their labels (0..1), and what each belongs to, by name."""

    task: Task
    part: Part
    manoeuvres: Sequence[str]
    settings: Sequence[str]
    devices: Sequence[str]


def held_out(dataset: Dataset, rows: Indices) -> HeldOut:
    """Return `rows` of `dataset` as pictures that judge."""
    return HeldOut(
        task=dataset.task,
        part=dataset.part(rows),
        manoeuvres=[dataset.manoeuvre_names[number] for number in dataset.manoeuvres[rows]],
        settings=[dataset.setting_names[number] for number in dataset.settings[rows]],
        devices=[dataset.device_names[number] for number in dataset.devices[rows]],
    )


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


def value_range(value: Tensor, task: Task) -> tuple[float, float]:
    """Return the ends of what a quantised output can say, in the task's unit."""
    ends = (value.scale * (quantised - value.zero_point) for quantised in (-128, 127))
    low, high = (to_label(end, task) for end in ends)
    return low, high


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


def judge_file(model: bytes, held: HeldOut, *, clock: Clock) -> Evaluation:
    """Return the evaluation of the int8 file `model` on the pictures of `held`.

    Raises:
        RefusedError: the file does not load or its tensors are not the three that must be there.
    """
    answers = run(model, held.part, clock=clock)
    return judge(answers.values, answers.log_sigmas, held)


def has_golden(task: Task) -> bool:
    """Tell whether the golden pictures are of the size that models of `task` take."""
    return golden.suits(golden.pictures(), task)


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


def judge(values: Floats, log_sigmas: Floats, held: HeldOut) -> Evaluation:
    """Return the evaluation of answers (0..1) to the pictures of `held`."""
    errors = (values - held.part.labels) * held.task.span
    sigmas = (np.exp(log_sigmas) * held.task.span).astype(np.float32)
    absolute = np.abs(errors)
    within_1, within_2 = absolute <= sigmas, absolute <= 2 * sigmas
    return Evaluation(
        pictures=len(errors),
        manoeuvres=len(set(held.manoeuvres)),
        mae=float(absolute.mean()),
        p95=float(np.percentile(absolute, 95)),
        bias=float(errors.mean()),
        within_1_sigma=float(within_1.mean()),
        within_2_sigma=float(within_2.mean()),
        within_1_error=standard_error(within_1, held.manoeuvres),
        within_2_error=standard_error(within_2, held.manoeuvres),
        bins=_per_bin(absolute, held.part.labels, held.task),
        settings=_per_name(errors, sigmas, held.settings),
        devices=_per_name(errors, sigmas, held.devices),
    )


def standard_error(values: npt.ArrayLike, manoeuvres: Sequence[str]) -> float:
    """Return the standard error of the mean of `values`; pictures of a manoeuvre go together.

    The cluster-robust one (Liang and Zeger 1986), and not below that of pictures drawn one by one,
    which few manoeuvres that are alike by chance would else undercut.
    """
    found = np.asarray(values, dtype=np.float64)
    alone = found.std() / np.sqrt(len(found))
    _, numbers = np.unique(manoeuvres, return_inverse=True)
    count = int(numbers.max()) + 1
    if count < 2:
        # One manoeuvre says nothing of how manoeuvres differ.
        return float(np.ptp(found) / 2)
    sums = np.bincount(numbers, weights=found - found.mean(), minlength=count)
    together = np.sqrt(np.sum(np.square(sums)) * count / (count - 1)) / len(found)
    return float(max(alone, together))


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


def _per_name(errors: Floats, sigmas: Floats, names: Sequence[str]) -> tuple[Slice, ...]:
    array = np.asarray(names)
    return tuple(
        Slice(
            name=str(name),
            pictures=int(np.sum(array == name)),
            mae=float(np.abs(errors[array == name]).mean()),
            bias=float(errors[array == name].mean()),
            within_1_sigma=coverage(errors[array == name], sigmas[array == name])[0],
            within_2_sigma=coverage(errors[array == name], sigmas[array == name])[1],
        )
        for name in np.unique(array)
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
