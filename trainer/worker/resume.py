"""After a kill: which open run is gone on with, which is registered, which is ended.

| the run's job | its run |
|---|---|
| is done, with this run's model | was handed in: register it and end it |
| waits or is running | stays open: whoever claims the job goes on with it |
| ended otherwise, or is unknown | was done for nothing: end it as killed |
| (no job) | nobody goes on with it: end it as killed |

Laws:
- a run is gone on with only on the same data set and the same settings: what its steps made is then
  what they would make again;
- what cannot be read any more is ended, not mended.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from shared.errors import ParkfleetError, RefusedError, RetryLaterError
from trainer.data.dataset import Dataset
from trainer.pipeline import pipeline
from trainer.pipeline.kept import Begun, Order
from trainer.pipeline.pipeline import Studio
from trainer.settings import TrainingSettings
from trainer.worker.client import JobState

_log = logging.getLogger(__name__)

JOB: Final = "job"
"""The tag that names a run's job."""

_OPEN: Final = frozenset({"queued", "running"})


def tidy(studio: Studio, state_of: Callable[[int], JobState]) -> None:
    """Bring the runs that a kill left open to where the table says; `state_of` asks the server.

    Raises:
        RetryLaterError: the server is away, or the notebook cannot be written.
    """
    for run_id, tags in studio.notebook.left_open().items():
        if _concluded(studio, run_id, tags, state_of):
            continue
        _log.info("run_ended_as_killed run=%s job=%s", run_id, tags.get(JOB, ""))
        studio.notebook.end_killed(run_id)


def begun_for(
    studio: Studio, order: Order, dataset: Dataset, settings: TrainingSettings
) -> Begun | None:
    """Return the open run of the order's job that may be gone on with, under the new order.

    Others of that job are ended.
    """
    chosen: Begun | None = None
    for run_id, tags in studio.notebook.left_open().items():
        if tags.get(JOB) != order.tags.get(JOB):
            continue
        begun = _begun(studio, run_id)
        same = begun is not None and (begun.dataset_sha256, begun.asked) == (
            dataset.sha256,
            settings,
        )
        if begun is not None and same and chosen is None:
            chosen = msgspec.structs.replace(begun, order=order)
        else:
            studio.notebook.end_killed(run_id)
    return chosen


def _concluded(
    studio: Studio, run_id: str, tags: Mapping[str, str], state_of: Callable[[int], JobState]
) -> bool:
    number = tags.get(JOB, "")
    if not number.isdecimal() or _begun(studio, run_id) is None:
        return False
    try:
        job = state_of(int(number))
    except RetryLaterError:
        raise
    except RefusedError:
        return False
    if job.state in _OPEN:
        return True
    try:
        trained = pipeline.finished(studio.home.run(run_id))
    except RetryLaterError:
        raise
    except ParkfleetError:
        return False
    if job.model != trained.manifest.sha256:
        return False
    pipeline.conclude(studio, trained)
    _log.info("run_registered_late run=%s job=%s", run_id, number)
    return True


def _begun(studio: Studio, run_id: str) -> Begun | None:
    try:
        return studio.home.run(run_id).read_json("run.json", Begun)
    except RetryLaterError:
        raise
    except ParkfleetError:
        return None
