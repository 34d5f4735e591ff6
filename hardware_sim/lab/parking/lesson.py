"""A model for the scenes that it shall know: cars drive there by range sensor, a trainer learns.

Laws:
- the trainer sees what cars saw: the pictures and labels of their journals, as `device export`
  writes them, with all the noise of camera and range sensor;
- cars go nearer to the wall than they shall park, so that a model knows what too near looks like;
- a lesson that was finished is not given again, one that was not begins anew.
"""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from device.export import export
from device.home import Home
from device.journal import Journal
from hardware_sim.backend import SimConfiguration
from hardware_sim.lab.parking.trials import PER_CAR, drive
from hardware_sim.lab.processes import Processes
from shared.clock import Clock

_NEAREST_MM: Final = 25.0
_SEED: Final = 1_000_000
"""Added to the seed: no car of a lesson is one that is judged afterwards."""


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What a lesson is: `manoeuvres` in each of the `scenes`, by cars drawn from `seed`."""

    scenes: tuple[str, ...]
    manoeuvres: int
    seed: int

    def is_given(self, folder: Path) -> bool:
        """Tell whether `folder` holds just this lesson, finished."""
        try:
            return msgspec.json.decode(_stamp(folder).read_bytes(), type=Lesson) == self
        except (OSError, msgspec.DecodeError):
            return False

    def record(
        self,
        folder: Path,
        *,
        real: Clock,
        stop: Callable[[], bool],
        tell: Callable[[int], None],
    ) -> int:
        """Drive it, and leave the recording in `folder`; return the number of pairs.

        `tell` hears how many manoeuvres are done.
        """
        shutil.rmtree(folder, ignore_errors=True)
        home = Home(folder / "car")
        done = 0
        for number, scene in enumerate(self.scenes):
            for car in range(math.ceil(self.manoeuvres / PER_CAR)):
                if stop():
                    break
                count = min(PER_CAR, self.manoeuvres - car * PER_CAR)
                seed = (_SEED + self.seed + 1000 * number + car) % 2**31
                configuration = SimConfiguration(scene=scene, seed=seed, speed=0.0)
                drive(configuration, count, home=home, real=real, stop=stop, target_mm=_NEAREST_MM)
                done += count
                tell(done)
        journal = Journal.open(home.journal)
        try:
            return export(journal, folder / "recording").pairs
        finally:
            journal.close()

    def learn(self, folder: Path, processes: Processes) -> Path:
        """Have the trainer learn the recording in `folder`; return the model's file.

        Raises:
            ParkfleetError: the trainer refuses; the text says why.
        """
        arguments = ["--data", str(folder / "recording"), "--out", str(folder / "model")]
        processes.run(["trainer", "run", *arguments, "--deployment", "lesson"])
        _stamp(folder).write_bytes(msgspec.json.encode(self))
        return model_file(folder)


def model_file(folder: Path) -> Path:
    """Return where the lesson in `folder` leaves its model."""
    return folder / "model" / "model.tflite"


def _stamp(folder: Path) -> Path:
    return folder / "lesson.json"
