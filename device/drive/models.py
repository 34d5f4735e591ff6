"""Which model drives: follows the journal's active slot, between two frames, while the car stands.

Laws:
- a model is loaded only if its bytes are those of its manifest and its tensors too;
- a file that does not load leaves the old model running, is named, and is not tried again until
  agent says so or another model was;
- what is said to be loaded is what lies in memory;
- loading takes many turns' time, so it happens in a thread; the swap is one assignment between two
  turns and costs no frame.
"""

import logging
import threading

import numpy as np

from device.drive.wishes import Wishes
from device.drivers.tflite import TfliteModel
from device.home import Home
from shared.clock import Clock
from shared.errors import ParkfleetError, RefusedError
from shared.manifest import Manifest
from shared.picture import Pixels
from shared.task import Task

_log = logging.getLogger(__name__)

_LOOK_EVERY_US = 1_000_000


class Models:
    """The model in memory, and the way to the next one."""

    def __init__(self, home: Home, wishes: Wishes, clock: Clock, *, task: Task) -> None:
        """Start with no model; `start` loads the active one."""
        self._home, self._wishes, self._clock, self._task = home, wishes, clock, task
        self._next_look_us = clock.monotonic_us()
        self._loading: _Loading | None = None
        self._refused = ""
        self.model: TfliteModel | None = None
        self.refusal = ""

    @property
    def digest(self) -> str | None:
        """The digest of the model in memory."""
        return None if self.model is None else self.model.manifest.sha256

    @property
    def release_seq(self) -> int:
        """The release of the model in memory, 0 where there is none."""
        return 0 if self.model is None else self.model.manifest.release_seq

    def start(self) -> None:
        """Load the active model, and wait for it."""
        self.follow()
        if self._loading is not None:
            self._loading.wait()
            self.follow()

    def nudge(self) -> None:
        """Look at the journal at the next `follow`, and try what was refused before once more."""
        self._next_look_us = 0
        self._refused = ""

    def follow(self) -> bool:
        """Take up the active model where it is another; tell whether anything changed.

        Call it only while the car stands; it takes as long as a look at the journal.
        """
        if self._loading is not None:
            return self._take(self._loading)
        now_us = self._clock.monotonic_us()
        if now_us < self._next_look_us:
            return False
        self._next_look_us = now_us + _LOOK_EVERY_US
        self._wishes.look()
        wanted = self._wishes.model
        if wanted is not None and wanted not in (self.digest, self._refused):
            self._loading = _Loading(self._home, wanted, self._task)
        return False

    def _take(self, loading: "_Loading") -> bool:
        if loading.is_on:
            return False
        self._loading = None
        if loading.model is None:
            self._refused = loading.digest
            self.refusal = f"model {loading.digest[:12]} refused: {loading.refusal}"[:200]
            _log.warning("model_refused model=%s error=%s", loading.digest[:12], loading.refusal)
            return True
        self.model, self._refused, self.refusal = loading.model, "", ""
        _log.info("model_loaded model=%s release_seq=%d", loading.digest[:12], self.release_seq)
        return True


class _Loading:
    """One model on its way into memory."""

    def __init__(self, home: Home, digest: str, task: Task) -> None:
        self.digest = digest
        self.model: TfliteModel | None = None
        self.refusal = "the loading thread died"
        self._home, self._task = home, task
        # A daemon: a driving process that is told to end does not wait for a model.
        self._thread = threading.Thread(target=self._run, name="model-loader", daemon=True)
        self._thread.start()

    @property
    def is_on(self) -> bool:
        return self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self.model = load(self._home, self.digest, self._task)
        except ParkfleetError as error:
            self.refusal = str(error)


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
