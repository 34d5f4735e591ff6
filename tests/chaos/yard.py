"""A yard: broker and server as processes, and cars whose agents run here, over real sockets.

Laws:
- server and each car reach the broker over a line of their own, whose weather the experiment makes;
- what a journal committed is looked for on the server at the end (`verdict`);
- all agents share this one thread: `turn` lets each do what is due.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from device.home import Home
from hardware_sim.fleet_sim import remote
from hardware_sim.fleet_sim.car import Identity
from hardware_sim.lab.fleet import Fleet, free_port
from shared.clock import Clock
from tests.chaos import agents, verdict
from tests.chaos.agents import Car
from tests.chaos.brokers import Broker, Embedded, Mosquitto, has_mosquitto
from tests.chaos.kills import NO_TRAINING
from tests.chaos.line import Line
from tests.chaos.verdict import Found
from tests.fleet_server.fleet import DEPLOYMENT

_LONGEST_TURN_US: Final = 1_000_000

_SETTINGS: Final = {
    **NO_TRAINING,
    "PARKFLEET_SERVER_QUOTA_BYTES": "1000000000",
    "PARKFLEET_SERVER_QUOTA_ROWS": "1000000000",
}


@dataclass
class Yard:
    """Use as a context; `cars` come with `enrol`, each with the line of the same place in `lines`.

    `embedded`: our own broker even where mosquitto is installed.
    """

    folder: Path
    clock: Clock
    seed: int
    embedded: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Start broker and server."""
        self._stack = ExitStack()
        self.homes: dict[str, Home] = {}
        self.cars: list[Car] = []
        self.lines: list[Line] = []
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _open(self) -> None:
        settings = {**_SETTINGS, **self.settings}
        self.fleet = self._stack.enter_context(
            Fleet(self.folder, self.clock, settings=settings, log_level="warning")
        )
        self.broker = self._broker(free_port())
        self.broker.start()
        self.server_line = self._stack.enter_context(Line(self.broker.port, seed=self.seed))
        self.fleet.broker_port = self.server_line.port
        self.fleet.start_server()
        self.fleet.server.post("deployments", {"name": DEPLOYMENT, "reason": "chaos"})

    def _broker(self, port: int) -> Broker:
        processes, state = self.fleet.processes, self.fleet.server_state
        if self.embedded or not has_mosquitto():
            return Embedded(processes, state, port)
        made = Mosquitto(processes, state, port)
        self._stack.callback(made.kill)
        return made

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        for car in self.cars:
            car.shell.close()
        self._stack.close()

    @property
    def server_pid(self) -> int:
        """The server's process."""
        return self.fleet.processes.children["server"].popen.pid

    def enrol(self, count: int) -> None:
        """Take cars into the fleet, until there are `count`; none of them runs yet."""
        everyone = remote.enrolled(count, self.folder / "cars", self.fleet.server, DEPLOYMENT)
        self.homes = {each.enrolment.device: each.home for each in everyone}

    def start_cars(self, count: int) -> Sequence[Car]:
        """Return `count` enrolled cars that run in this thread, each over a line of its own."""
        self.enrol(count)
        for number, (name, home) in enumerate(self.homes.items()):
            seed = self.seed * 1000 + number
            line = self._stack.enter_context(Line(self.broker.port, seed=seed))
            self.lines.append(line)
            car = Car(name, home, port=line.port, clock=self.clock, seed=self.seed)
            self.cars.append(car)
        return self.cars

    def stranger(self) -> Identity:
        """Return one more enrolled car, which is not judged."""
        count = len(self.homes) + 1
        folder = self.folder / "cars"
        *_, last = remote.enrolled(count, folder, self.fleet.server, DEPLOYMENT)
        return last

    def turn(self) -> None:
        """Let every agent do what is due."""
        self.fleet.processes.check()
        agents.turn(self.cars, self.clock)

    def turn_for(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Go on for so long; `each` is called after each turn."""
        self.turn_until(lambda: False, seconds, each)

    def turn_until(
        self, is_so: Callable[[], bool], longest_s: float, each: Callable[[], None] = lambda: None
    ) -> float:
        """Go on until something is so, at most for so long; return the seconds that it took."""
        took_s = 0.0
        for second in self.turns(is_so, longest_s):
            each()
            took_s = second
        return took_s

    def turns(self, is_so: Callable[[], bool], longest_s: float) -> Iterator[float]:
        """Go on as `turn_until` does, a turn at a time, so that yards can run side by side.

        Yield the seconds so far. Time in which this process stood still, as a whole machine may,
        counts as one second.
        """
        took_us, last_us = 0, self.clock.monotonic_us()
        while took_us < longest_s * 1e6 and not is_so():
            self.turn()
            now_us = self.clock.monotonic_us()
            took_us += min(now_us - last_us, _LONGEST_TURN_US)
            last_us = now_us
            yield took_us / 1e6

    def are_connected(self) -> bool:
        """Tell whether every agent is connected."""
        return all(car.is_connected for car in self.cars)

    def are_synced(self) -> bool:
        """Tell whether every journal is empty."""
        return all(car.waiting == 0 for car in self.cars)

    def judge(self) -> Found:
        """Compare what the journals committed with what the server's database holds."""
        refused = len(list(self.fleet.server.all("quarantine")))
        journals = {name: home.journal for name, home in self.homes.items()}
        return verdict.judge(journals, self.fleet.server_state / "server.sqlite", refused=refused)
