"""The car's power supply, which a fault can cut.

Laws:
- a cut is a SIGKILL of the process at a chosen virtual moment: nothing is flushed, nothing closed;
- the moment is that of the world's step, so the same seed dies in the same place.

Faults: `power_cut`. What a killed process leaves behind is the point; where one process drives
several cars, all of them go.
"""

import os
import signal
from collections.abc import Callable

from hardware_sim.world import World


def kill_this_process() -> None:
    """End this process as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


class PowerSupply:
    """Feeds the car until `power_cut` acts."""

    def __init__(self, world: World, cut: Callable[[], None] = kill_this_process) -> None:
        """Stand in `world`; `cut` is what losing power does."""
        self._world = world
        self._cut = cut
        world.actors.append(self)

    def tick(self, now_us: int) -> None:
        """Cut the power where it is due; called by the world."""
        if self._world.faults.acts("power_cut", now_us):
            self._cut()
