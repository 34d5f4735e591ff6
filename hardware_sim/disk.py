"""The car's disk, which a fault can fill.

Laws:
- while the disk is full no file of this process grows or changes: every write fails, in the
  journal, the log and everywhere else, and reading goes on;
- the laboratory's own files lie on another disk: who writes them does so in `spared`.

Faults: `disk_full`. A write fails with EFBIG instead of ENOSPC, since it is the limit on file sizes
(RLIMIT_FSIZE) that is set to nothing: a disk filled in earnest would take the machine along. SQLite
calls both a failed write. What other threads write while somebody is `spared` succeeds.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from hardware_sim.world import World


class Disk:
    """Fills and empties as the world's faults say; one a process."""

    def __init__(self, world: World) -> None:
        """Stand in `world`."""
        self._world = world
        self._usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._is_full = False
        world.actors.append(self)

    def tick(self, now_us: int) -> None:
        """Fill or empty the disk where it is due; called by the world."""
        full = self._world.faults.acts("disk_full", now_us)
        if full != self._is_full:
            self._set(full=full)

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Write on another disk, for as long as the context lasts."""
        was_full = self._is_full
        if was_full:
            self._set(full=False)
        try:
            yield
        finally:
            if was_full:
                self._set(full=True)

    def close(self) -> None:
        """Leave the process with room to write."""
        self._set(full=False)

    def _set(self, *, full: bool) -> None:
        soft, hard = self._usual
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if full else soft, hard))
        self._is_full = full
