"""Which model drives and which answers beside it: the journal's slots, followed while standing.

Laws:
- a model is loaded only if its bytes are those of its manifest and its tensors too;
- a file that does not load leaves the old model running, is named, and is not tried again until
  agent says so or another model was;
- what is said to be loaded is what lies in memory;
- loading takes many turns' time, so it happens in a thread; the swap is one assignment between two
  turns and costs no frame: a candidate that is committed lies in memory already;
- the model beside the one in service only answers where that one is loaded, and steers only the
  manoeuvres that are drawn for it where the two share the driving (`device.update.arms`);
- a car whose slots name no model any more drives by its sensor.
"""

import logging
import threading

import numpy as np

from device.drive.wishes import Wishes
from device.drivers.tflite import TfliteModel
from device.home import Home
from device.update import arms
from shared.clock import Clock
from shared.errors import ParkfleetError, RefusedError
from shared.manifest import Manifest
from shared.picture import Pixels
from shared.task import Task

_log = logging.getLogger(__name__)

_LOOK_EVERY_US = 1_000_000


class Models:
    """The models in memory, and the way to the next ones."""

    def __init__(self, home: Home, wishes: Wishes, clock: Clock, *, task: Task) -> None:
        """Start with no model; `start` loads the active one."""
        self._home, self._wishes, self._clock, self._task = home, wishes, clock, task
        self._next_look_us = clock.monotonic_us()
        self._loading: _Loading | None = None
        self._refusals: dict[str, str] = {}
        self.model: TfliteModel | None = None
        self.shadow: TfliteModel | None = None

    @property
    def digest(self) -> str | None:
        """The digest of the model in memory."""
        return _digest(self.model)

    @property
    def release_seq(self) -> int:
        """The release of the model in memory, 0 where there is none."""
        return 0 if self.model is None else self.model.manifest.release_seq

    @property
    def refusal(self) -> str:
        """Why a model that the slots name is not in memory; empty where that is not so."""
        named = (self._wishes.model, self._wishes.shadow)
        return next((self._refusals[each] for each in named if each in self._refusals), "")

    def start(self) -> None:
        """Load the active model and the one beside it, and wait for them."""
        for _ in range(2):
            self.follow()
            if self._loading is not None:
                self._loading.wait()
                self.follow()

    def pair(
        self, device: str, boot: str, manoeuvre: int
    ) -> tuple[TfliteModel | None, TfliteModel | None]:
        """Return which model drives the manoeuvre that begins, and which answers beside it."""
        draw = self._wishes.draw
        if draw is None or (draw[0].incumbent, draw[0].candidate) != (
            self.digest,
            _digest(self.shadow),
        ):
            return self.model, self.shadow
        arm = arms.choose(*draw, device=device, boot=boot, manoeuvre=manoeuvre)
        return (self.shadow, self.model) if arm == "candidate" else (self.model, self.shadow)

    def nudge(self) -> None:
        """Look at the journal at the next `follow`, and try what was refused before once more."""
        self._next_look_us = 0
        self._refusals.clear()

    def follow(self) -> bool:
        """Take up what the slots name where it is another; tell whether anything changed.

        Call it only while the car stands; it takes as long as a look at the journal.
        """
        if self._loading is not None:
            return self._take(self._loading)
        now_us = self._clock.monotonic_us()
        if now_us < self._next_look_us:
            return False
        self._next_look_us = now_us + _LOOK_EVERY_US
        self._wishes.look()
        before = self.digest
        self._swap()
        wanted = self._missing()
        if wanted is not None:
            self._loading = _Loading(self._home, wanted, self._task)
        return self.digest != before

    def _swap(self) -> None:
        """Bring what lies in memory into its place."""
        wanted, beside = self._wishes.model, self._wishes.shadow
        held = {_digest(each): each for each in (self.model, self.shadow) if each is not None}
        if wanted in held:
            self.model = held[wanted]
        elif wanted is None:
            # Rolled back to nothing, or never had one.
            self.model = None
        is_asked = beside is not None and beside != self.digest
        self.shadow = held.get(beside) if is_asked and self.model is not None else None

    def _missing(self) -> str | None:
        """Return what to load next: the model in service before the one beside it."""
        wanted, beside = self._wishes.model, self._wishes.shadow
        if wanted is not None and wanted != self.digest:
            return None if wanted in self._refusals else wanted
        is_missing = beside not in (None, self.digest, _digest(self.shadow), *self._refusals)
        return beside if is_missing and self.model is not None else None

    def _take(self, loading: "_Loading") -> bool:
        if loading.is_on:
            return False
        self._loading = None
        if loading.model is None:
            self._refusals[loading.digest] = (
                f"model {loading.digest[:12]} refused: {loading.refusal}"[:200]
            )
            _log.warning("model_refused model=%s error=%s", loading.digest[:12], loading.refusal)
            return True
        if loading.digest == self._wishes.shadow:
            self.shadow = loading.model
            _log.info("model_beside model=%s", loading.digest[:12])
        else:
            self.model, self.shadow = loading.model, self.model
            self._swap()
            self._refusals.clear()
            _log.info("model_loaded model=%s release_seq=%d", self.digest, self.release_seq)
        # What else the slots name is looked for at once.
        self._next_look_us = 0
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


def _digest(model: TfliteModel | None) -> str | None:
    return None if model is None else model.manifest.sha256
