"""A whole simulated car: the device's own control loop on simulated instruments, and its person.

Laws:
- the control loop is the device's, unchanged; only the backend and the clock differ;
- it ends between two turns, with the motors cut and everything flushed, whoever asks for the end.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from device.drive.loop import run
from device.home import Home
from device.journal import Journal
from device.task import task_of
from hardware_sim import scene as scenes
from hardware_sim.backend import SimConfiguration, open_car
from hardware_sim.person import Person
from hardware_sim.script import Desk
from shared.clock import Clock
from shared.errors import RetryLaterError

_log = logging.getLogger(__name__)


def drive(
    home: Path,
    script: Path,
    configuration: SimConfiguration,
    real: Clock,
    *,
    stop: Callable[[], bool],
    max_manoeuvres: int | None = None,
) -> int:
    """Drive as `script` says until `stop()` or for `max_manoeuvres`; return how many were driven.

    Raises:
        UsageError: the script, its scene, the home folder or its settings are wrong.
        HardwareError: a fault of the scene keeps an instrument from opening.
    """
    folder = Home(home)
    order, settings = Desk(script).order(), folder.settings()
    scenes.load(order.scene)
    folder.create()
    car = open_car(configuration, real)
    desk = Desk(script, spared=car.disk.spared)
    display = _Display(folder.journal)
    try:
        person = Person(
            car.world,
            car.pins,
            configuration.pins,
            desk,
            seed=configuration.seed,
            loaded=display.loaded,
        )
        car.camera.observers.append(person.exposed)
        _log.info("person_ready run=%d scene=%s", order.run, order.scene)

        def is_over() -> bool:
            enough = max_manoeuvres is not None and person.manoeuvres >= max_manoeuvres
            return enough or stop()

        run(folder, car.instruments, settings, stop=is_over, task=task_of(folder))
    finally:
        display.close()
        car.close()
    return person.manoeuvres


class _Display:
    """What the car shows of itself: the model it has in service, read from its journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal: Journal | None = None

    def loaded(self) -> str | None:
        """Return the digest of the model in service, None where there is none or nobody knows."""
        try:
            if self._journal is None:
                self._journal = Journal.open(self._path)
            state = self._journal.drive_state()
        except RetryLaterError as error:
            _log.debug("display_not_read error=%s", error)
            return None
        return state.loaded if state else None

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
