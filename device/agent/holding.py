"""What a car's slots and its folder of models hold: checked, thrown away, kept tidy.

Laws:
- an active model that was damaged on the disk is thrown away at the start and fetched again, since
  drive would refuse it at every start;
- what a slot or drive's memory holds is never thrown away, everything else is once it is idle.
"""

import logging

from device.agent.chunks import discard, is_damaged, sweep
from device.agent.releases import SignedRelease
from device.home import Home
from device.journal import Journal
from device.update.fitness import check_release
from device.update.saved import Saved, committed_of
from shared import __version__
from shared.task import Task

logger = logging.getLogger(__name__)


class Holding:
    """The models of one car."""

    def __init__(self, home: Home, journal: Journal, task: Task) -> None:
        """Look at `journal` and at the folder of `home`."""
        self._home, self._journal, self._task = home, journal, task

    @property
    def active(self) -> str | None:
        """The model of the active slot, where its file exists.

        A slot that points at nothing is no reason to leave a wish undone.
        """
        active = self._journal.active_model()
        return active if active is not None and self._home.model(active).exists() else None

    def throw_away_damaged(self) -> None:
        """Throw the active model away where it is not what its name and manifest say.

        Raises:
            RetryLaterError: the disk or the journal fails.
        """
        active = self._journal.active_model()
        if active is not None and is_damaged(self._home, active):
            logger.warning("model_damaged model=%s", active[:12])
            discard(self._home, active)

    def check(self, target: str, signed: SignedRelease, saved: Saved) -> None:
        """Return quietly where what is signed for `target` fits this car.

        Raises:
            RefusedError: it does not; the text says why.
            RetryLaterError: the journal does not answer now.
        """
        check_release(
            signed.release,
            target=target,
            size_bytes=signed.size_bytes,
            task=self._task,
            committed=committed_of(saved),
            withdrawn=signed.withdrawn,
            in_slots=self._journal.held_models(),
            device_version=__version__,
        )

    def tidy(self) -> None:
        """Throw away what neither a slot nor drive's memory holds.

        Raises:
            RetryLaterError: the disk or the journal fails.
        """
        drive = self._journal.drive_state()
        loaded = {drive.loaded} if drive and drive.loaded else set()
        sweep(self._home, self._journal.held_models() | loaded)
