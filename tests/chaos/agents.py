"""Real agents of cars, many in one thread, over journals that grow as drive would have them grow.

Laws:
- an agent is the device's own (`device.agent.shell`), with its journal and its connection; of drive
  there is what it leaves in the journal: one manoeuvre after the other;
- what a car drives comes from its seed, and depends on no answer.
"""

import random
from collections.abc import Sequence
from typing import Final

from device.agent.enrolment import BrokerPlace
from device.agent.shell import Shell
from device.home import Home
from device.journal import DriveState
from shared.clock import Clock
from shared.samples import ManoeuvreEnd, Picture, Sample
from tests.chaos.cars import manoeuvres

MOST: Final = 100
"""Agents a process: paho waits with select(), which knows no file beyond the 1024th."""

HOST: Final = "127.0.0.1"
_TURN_US: Final = 10_000

_WAITING = """
SELECT (SELECT count(*) FROM samples WHERE sent = 0)
+ (SELECT count(*) FROM pictures WHERE sent = 0) + (SELECT count(*) FROM manoeuvres WHERE sent = 0)
"""


class Car:
    """One car: an agent, a journal that grows by `log`, and the way to its broker."""

    def __init__(self, name: str, home: Home, *, port: int, clock: Clock, seed: int) -> None:
        """Start the agent of `home`, which finds the broker at `port`."""
        self.name, self.home = name, home
        self._road = manoeuvres(name, random.Random(f"{seed} {name}"))
        self._clock = clock
        self.shell = Shell(home, clock, BrokerPlace(HOST, port))
        self.shell.start()

    @property
    def waiting(self) -> int:
        """How many rows wait in the journal."""
        return int(self.shell.journal.one(_WAITING))

    @property
    def is_connected(self) -> bool:
        """Whether the broker has welcomed the car."""
        return self.shell.agent.is_connected

    @property
    def under_way(self) -> int:
        """How many messages were sent and wait for their receipt."""
        return self.shell.agent.uploading._session.in_flight

    def log(self, count: int = 1) -> None:
        """Commit the pairs and ends of `count` manoeuvres, as drive does, and tell the agent."""
        for _ in range(count):
            rows = next(self._road)
            jpegs = {row.sequence: row.jpeg for row in rows if isinstance(row, Picture)}
            samples = [row for row in rows if isinstance(row, Sample)]
            self.shell.journal.append(
                samples=[(each, jpegs.get(each.sequence)) for each in samples],
                manoeuvres=[row for row in rows if isinstance(row, ManoeuvreEnd)],
            )
            self._report(samples[0].boot)
        self.shell.agent.uploading.hurry()

    def _report(self, boot: str) -> None:
        now_us = self._clock.utc_us()
        state = DriveState(boot=boot, loaded=None, release_seq=0, state="idle", utc_us=now_us)
        self.shell.journal.set_drive_state(state)


def turn(cars: Sequence[Car], clock: Clock) -> None:
    """Let every agent do what is due, and rest for a moment."""
    for car in cars:
        car.shell.step(0.0)
    clock.sleep_until_us(clock.monotonic_us() + _TURN_US)
