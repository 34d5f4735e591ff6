"""The model card's plots, as PNG: drawn from held-out answers, without a display.

Law: the same figures give the same picture.
"""

import io
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from shared.picture import Pixels
from shared.task import Task
from trainer.data.dataset import Floats
from trainer.judging.evaluate import Evaluation, Judgement
from trainer.learning.rounds import Round

_INK: Final = "#333333"
_OURS: Final = "#0a7d8c"
_OTHER: Final = "#b3387b"
_PALE: Final = "#9aa7ab"
_DPI: Final = 90

WORST: Final = 8
"""Pictures shown with the largest errors."""


def error_over_label(labels: Floats, values: Floats, judged: Evaluation, task: Task) -> bytes:
    """Return each picture's error over its label, and the mean absolute error of each bin.

    `labels` and `values` are in the task's unit.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.0, color=_INK, linewidth=0.8)
    axes.scatter(labels, values - labels, s=8, color=_PALE, label="picture")
    for each in judged.bins:
        for sign in (1, -1):
            axes.hlines(sign * each.mae, each.low, each.high, color=_OURS, linewidth=2)
    axes.set_xlabel(f"{task.label}, {task.unit}")
    axes.set_ylabel(f"error, {task.unit}")
    axes.set_title("Error over label; lines: mean absolute error of a bin", fontsize=9)
    return _png(figure)


def per_setting(judged: Judgement, task: Task) -> bytes:
    """Return the mean absolute errors in each setting: int8, float, model in service."""
    names = [each.name for each in judged.converted.settings]
    rows: list[tuple[str, Evaluation, str]] = [
        ("int8", judged.converted, _OURS),
        ("float", judged.original, _PALE),
    ]
    if judged.in_service is not None:
        rows.append(("in service", judged.in_service, _OTHER))
    figure = Figure(figsize=(7, 1.2 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(rows)
    for number, (label, evaluation, colour) in enumerate(rows):
        at = np.arange(len(names)) + number * height
        maes = [each.mae for each in evaluation.settings]
        axes.barh(at, maes, height=height * 0.9, color=colour, label=label)
    axes.set_yticks(np.arange(len(names)) + 0.4 - height / 2, names)
    axes.invert_yaxis()
    axes.set_xlabel(f"mean absolute error, {task.unit}")
    axes.legend(fontsize=8)
    return _png(figure)


def calibration(scores: Floats) -> bytes:
    """Return which share of the errors lies within so many sigma, beside a Gaussian's.

    `scores` are absolute errors over their sigma.
    """
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    sigmas = np.linspace(0.0, 3.0, 121)
    ordered = np.sort(scores)
    found = np.searchsorted(ordered, sigmas, side="right") / len(ordered)
    axes.plot(sigmas, [_within(each) for each in sigmas], color=_PALE, label="Gaussian")
    axes.plot(sigmas, found, color=_OURS, label="found")
    for each in (1.0, 2.0):
        axes.axvline(each, color=_INK, linewidth=0.6, linestyle=":")
    axes.set_xlabel("sigma")
    axes.set_ylabel("share of errors within")
    axes.legend(fontsize=8)
    return _png(figure)


def training(rounds: Sequence[Round], best: int, task: Task) -> bytes:
    """Return the validation error round by round, the kept round marked."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    numbers = [each.number for each in rounds]
    axes.plot(numbers, [each.validation_mae for each in rounds], color=_OURS)
    axes.axvline(best, color=_OTHER, linewidth=1)
    axes.set_yscale("log")
    axes.set_xlabel("round (25 steps); line: the one that was kept")
    axes.set_ylabel(f"validation error, {task.unit}", fontsize=8)
    return _png(figure)


def worst(pictures: Pixels, captions: Sequence[str]) -> bytes:
    """Return the pictures with the largest errors, each with what was said and what was true."""
    columns = 4
    lines = -(-len(captions) // columns)
    figure = Figure(figsize=(8, 2.1 * lines), layout="constrained")
    grid = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, caption in zip(grid, pictures, captions, strict=False):
        axes.imshow(picture)
        axes.set_title(caption, fontsize=7)
    return _png(figure)


def _within(sigma: float) -> float:
    return math.erf(sigma / math.sqrt(2.0))


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    # Without a date the same plot is the same file.
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()
