"""Which model drives: follows the journal's active slot, between two frames, while the car stands.

Laws:
- a model is loaded only if its bytes are those of its manifest and its tensors too;
- a file that does not load leaves the old model running, is named in the drive state, and is not
  tried again until another model was;
- what is said to be loaded is what lies in memory.
"""

import logging

import numpy as np

from device.drivers.tflite import TfliteModel
from device.home import Home
from device.journal import DriveState, Journal
from shared.clock import Clock
from shared.errors import ParkfleetError, RefusedError
from shared.manifest import Manifest
from shared.picture import Pixels
from shared.task import Task

_log = logging.getLogger(__name__)

_LOOK_EVERY_US = 1_000_000


class Models:
    """The model in memory, and the way to the next one."""

    def __init__(
        self, home: Home, journal: Journal, clock: Clock, *, boot: str, task: Task
    ) -> None:
        """Start with no model; the first `follow` loads the active one."""
        self._home, self._journal, self._clock = home, journal, clock
        self._boot, self._task = boot, task
        self._refused = ""
        self._next_look_us = clock.monotonic_us()
        self.model: TfliteModel | None = None

    @property
    def digest(self) -> str | None:
        """The digest of the model in memory."""
        return None if self.model is None else self.model.manifest.sha256

    def nudge(self) -> None:
        """Look at the journal at the next `follow`."""
        self._next_look_us = 0

    def follow(self) -> None:
        """Load the active model where it is another; call only while the car stands."""
        now_us = self._clock.monotonic_us()
        if now_us < self._next_look_us:
            return
        self._next_look_us = now_us + _LOOK_EVERY_US
        try:
            wanted = self._journal.active_model()
            if wanted is None or wanted in (self.digest, self._refused):
                return
            self._swap(wanted)
        except ParkfleetError as error:
            # The disk is full or the journal damaged: neither keeps the car from driving.
            _log.warning("model_look_failed error=%s", error)

    def report(self, state: str) -> None:
        """Write to the journal what is loaded, and that the car is in `state`."""
        release_seq = 0 if self.model is None else self.model.manifest.release_seq
        try:
            self._journal.set_drive_state(
                DriveState(
                    boot=self._boot,
                    loaded=self.digest,
                    release_seq=release_seq,
                    state=state[:200],
                    utc_us=self._clock.utc_us(),
                )
            )
        except ParkfleetError as error:
            _log.warning("drive_state_not_written error=%s", error)

    def _swap(self, wanted: str) -> None:
        try:
            model = load(self._home, wanted, self._task)
        except ParkfleetError as error:
            _log.warning("model_refused model=%s error=%s", wanted[:12], error)
            self._refused = wanted
            self.report(f"model {wanted[:12]} refused: {error}")
            return
        self.model, self._refused = model, ""
        _log.info("model_loaded model=%s release_seq=%d", wanted[:12], model.manifest.release_seq)
        self.report("idle")


def load(home: Home, digest: str, task: Task) -> TfliteModel:
    """Return the model `digest` of a car's folder, loaded, for `task`, and proven to answer.

    Raises:
        RefusedError: the file or its manifest is missing, damaged or of another task.
        UsageError: no TFLite runtime is installed.
    """
    try:
        manifest = Manifest.from_json(home.manifest(digest).read_bytes())
    except OSError as error:
        raise RefusedError(f"no manifest of model {digest[:12]}: {error.strerror}") from None
    if manifest.sha256 != digest:
        raise RefusedError(f"the manifest of {digest[:12]} is of model {manifest.sha256[:12]}")
    if manifest.task != task:
        raise RefusedError(f"model {digest[:12]} is for the task {manifest.task.name}")
    model = TfliteModel(home.model(digest), manifest)
    # The first answer takes longer than all later ones; it must not fall into a manoeuvre.
    blank: Pixels = np.zeros((task.picture_height, task.picture_width, 3), dtype=np.uint8)
    model.estimate(blank)
    return model
