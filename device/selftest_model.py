"""The self-test's lines on the model: how fast it answers, and whether as where it was made."""

from statistics import quantiles

import numpy as np

from device import golden
from device.drive.loop import TURN_US
from device.drive.models import load
from device.drivers.tflite import TfliteModel
from device.home import Home
from device.journal import Journal
from device.task import task_of
from shared.clock import Clock
from shared.errors import RefusedError
from shared.golden import pictures as golden_pictures
from shared.picture import Pixels, prepare

_ESTIMATES = 100


class NothingToTestError(Exception):
    """There is nothing here that could be tested; the message says why."""


def speed(home: Home, clock: Clock, picture: Pixels | None) -> str:
    """Return what the active model answers and how long it takes, in words.

    `picture` is a prepared one of the camera's, if there is one.

    Raises:
        NothingToTestError: no model is installed.
        RefusedError: it does not load, gives no number or takes longer than a frame.
    """
    model, task = _active(home), task_of(home)
    shape = (task.picture_height, task.picture_width, 3)
    shown = [np.full(shape, level, dtype=np.uint8) for level in (0, 128, 255)]
    shown += [picture] if picture is not None else []
    # `estimate` refuses an answer that is no number.
    value, sigma = [model.estimate(each) for each in shown][-1]
    frame = np.repeat(np.repeat(shown[-1], 2, axis=0), 2, axis=1)
    took_us = []
    for _ in range(_ESTIMATES):
        begun_us = clock.monotonic_us()
        model.estimate(prepare(frame, task))
        took_us.append(clock.monotonic_us() - begun_us)
    p99_us = quantiles(took_us, n=100)[98]
    if p99_us > TURN_US:
        raise RefusedError(f"p99 of an estimate is {p99_us / 1000:.1f} ms, a frame has 33.3 ms")
    said = f"answers {value:.0f} {task.unit}, sigma {sigma:.0f} {task.unit}"
    return f"{model.manifest.sha256[:12]} {said}; p99 {p99_us / 1000:.2f} ms of the frame's 33.3 ms"


def answers(home: Home) -> str:
    """Return how the active model's answers to the golden pictures compare, in words.

    Raises:
        NothingToTestError: no model is installed, or its manifest and this car's software have no
            golden pictures in common.
        RefusedError: it does not load, or answers otherwise than where it was made.
    """
    model, shown = _active(home), golden_pictures()
    agreement = golden.compare(model.manifest, model.estimate, shown)
    if agreement is None:
        raise NothingToTestError(golden.incomparable(model.manifest, shown))
    if not agreement.holds:
        raise RefusedError(str(agreement))
    return str(agreement)


def _active(home: Home) -> TfliteModel:
    if not home.journal.exists():
        raise NothingToTestError("no journal yet: this car never drove")
    journal = Journal.open_to_look(home.journal)
    try:
        digest = journal.active_model()
    finally:
        journal.close()
    if digest is None:
        raise NothingToTestError("none is installed: the car parks by its sensor")
    return load(home, digest, task_of(home))
