"""A whole fleet on one machine: broker, server, trainer and simulated cars, as real processes.

Laws:
- everything is started through its own command line, as a person would; nothing is imported from
  server or trainer;
- every car reaches the broker through a cable of its own (`lab.network`), so that its network can
  be cut without touching anyone else;
- all state lives in one folder; a fleet opened on a kept folder goes on where it was.

A simulated person sits in each car: a script file says which floor lies there and how many
manoeuvres to drive, and a progress file tells how far that got.
"""

import contextlib
import os
import socket
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from hardware_sim.lab.network import Cable
from hardware_sim.lab.processes import Processes
from hardware_sim.lab.rest import Server
from shared.clock import Clock
from shared.errors import UsageError
from shared.signing import write_secret
from shared.task import WALL_DISTANCE

_HOST = "127.0.0.1"
_READY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What a person in a simulated car does next."""

    scene: str
    manoeuvres: int
    by: str = "park"
    retry_by_sensor: bool = True


@dataclass(eq=False)
class Car:
    """One simulated car: its home, its cable and its person's script."""

    name: str
    folder: Path
    cable: Cable
    run: int = 0

    @property
    def home(self) -> Path:
        """The car's own folder."""
        return self.folder / "home"

    @property
    def script(self) -> Path:
        """What the person is told."""
        return self.folder / "script.toml"

    @property
    def truth(self) -> Path:
        """What the simulator knows of every frame of a manoeuvre."""
        return self.folder / "truth.csv"

    def tell(self, floor: Floor) -> None:
        """Give the person a new order; the count starts again."""
        self.run += 1
        text = (
            f"run = {self.run}\nscene = {msgspec.json.encode(floor.scene).decode()}\n"
            f'manoeuvres = {floor.manoeuvres}\nby = "{floor.by}"\n'
            f"retry_by_sensor = {str(floor.retry_by_sensor).lower()}\n"
        )
        temporary = self.script.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.script)

    def progress(self) -> dict[str, Any]:
        """Return how far the person is with the present order: `done`, `contacts`, `state`."""
        path = self.folder / "progress.json"
        told: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
        return told if told.get("run") == self.run else {"run": self.run, "done": 0, "contacts": 0}


@dataclass
class Fleet:
    """Everything that runs. Use as a context: leaving it ends all processes and cables."""

    folder: Path
    clock: Clock
    http_port: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    log_level: str = "info"

    def __enter__(self) -> Self:
        """Choose ports; nothing runs yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        self.http_port = self.http_port or free_port()
        self.broker_port = free_port()
        environment = {**os.environ, "PARKFLEET_LOG_LEVEL": self.log_level, **self.settings}
        self.processes = self._stack.enter_context(
            Processes(self.folder / "logs", self.clock, environment)
        )
        self.cars: dict[str, Car] = {}
        self.server = Server(self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        self.server.close()
        self._stack.close()

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{_HOST}:{self.http_port}"

    @property
    def server_state(self) -> Path:
        """The server's and the broker's folder."""
        return self.folder / "server"

    @property
    def trainer_state(self) -> Path:
        """The training worker's folder."""
        return self.folder / "trainer"

    def start_broker(self) -> None:
        """Start the broker and wait until it listens."""
        arguments = ["--host", _HOST, "--port", str(self.broker_port)]
        self.processes.start("broker", ["broker", "run", *self._at_state(), *arguments])
        self.processes.wait_for(
            "the broker", lambda: _listens(self.broker_port), timeout_s=_READY_S, each_s=0.05
        )

    def start_server(self) -> None:
        """Start the server, which makes its release repository first where there is none."""
        if not (self.server_state / "releases").exists():
            self._init_releases()
        self.processes.start(
            "server",
            [
                "server",
                *self._at_state(),
                *("--host", _HOST, "--port", str(self.http_port)),
                *("--broker-host", _HOST, "--broker-port", str(self.broker_port)),
            ],
        )
        self.processes.wait_for("the server", self.server.is_ready, timeout_s=_READY_S, each_s=0.1)
        if not self._operator_token.exists():
            self._create_token("operator", self._operator_token)
        self.server.close()
        self.server = Server(self.url, self._operator_token.read_text().strip())

    def start_trainer(self) -> None:
        """Start one training worker."""
        token = self.trainer_state / "token"
        if not token.exists():
            self._create_token("trainer", token)
        self.processes.start(
            "trainer",
            [
                *("trainer", "work", "--server", self.url, "--token-file", str(token)),
                *("--state", str(self.trainer_state), "--name", "trainer-1"),
            ],
        )

    def add_car(self, name: str, deployment: str) -> Car:
        """Return a car that is enrolled in `deployment`; enrolled anew only where it never was."""
        folder = self.folder / "cars" / name
        folder.mkdir(parents=True, exist_ok=True)
        cable = self._stack.enter_context(Cable(self.broker_port))
        car = Car(name, folder, cable)
        if car.script.exists():
            car.run = int(tomllib.loads(car.script.read_text())["run"])
        car.tell(Floor(scene="beige", manoeuvres=0))
        if not (car.home / "enrolment.json").exists() or not self._is_confirmed(name):
            wanted = {"device": name, "deployment": deployment, "reason": "a new simulated car"}
            code = self.server.post("enrolments", wanted)
            told = self.processes.run(
                [
                    *("device", "enrol", "--home", str(car.home), "--server", self.url),
                    *("--name", name, "--code", code["code"], "--force", "--json"),
                ]
            )
            fingerprint = msgspec.json.decode(told)["fingerprint"]
            because = {"fingerprint": fingerprint, "reason": "the laboratory built this car"}
            self.server.post(f"devices/{name}/confirm", because)
        self.cars[name] = car
        return car

    def _is_confirmed(self, name: str) -> bool:
        return bool(self.server.get(f"devices/{name}")["state"] == "confirmed")

    def start_agent(self, car: Car) -> None:
        """Start the car's syncing process, which reaches the broker through the car's cable."""
        place = f"{_HOST}:{car.cable.port}"
        self.processes.start(
            f"{car.name}-agent", ["device", "agent", "--home", str(car.home), "--broker", place]
        )

    def start_drive(self, car: Car, *, speed: float, seed: int) -> None:
        """Start the car itself, in its own simulated world, where it rests in real time."""
        self.processes.start(
            f"{car.name}-drive",
            [
                *("sim", "car", "--home", str(car.home), "--script", str(car.script)),
                *("--speed", str(speed), "--rest-speed", "1", "--seed", str(seed)),
            ],
        )

    def journal_counts(self, car: Car) -> dict[str, Any]:
        """Return the journal's counts and the digest `loaded`, as `device status` tells them."""
        status = self.processes.run(["device", "status", "--home", str(car.home), "--json"])
        told: dict[str, Any] = msgspec.json.decode(status)
        return {**told["journal"], "loaded": (told["drive"] or {}).get("loaded")}

    def _init_releases(self) -> None:
        self.processes.run(
            [
                *("releases", "init", "--owner", str(self.folder / "owner")),
                *("--server-state", str(self.server_state), "--trainer", str(self.trainer_state)),
                *("--trainer-name", "trainer-1", "--task", WALL_DISTANCE.name),
            ]
        )

    @property
    def _operator_token(self) -> Path:
        return self.folder / "operator.token"

    def _create_token(self, role: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        who = ["--role", role, "--name", path.stem]
        token = self.processes.run(["token", "create", *self._at_state(), *who])
        write_secret(path, token.strip())

    def _at_state(self) -> list[str]:
        return ["--state", str(self.server_state)]


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int) -> None:
    """Return quietly where `port` can be listened on.

    Raises:
        UsageError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise UsageError(
                f"port {port} is in use on {_HOST}: choose another with --port, or --port 0"
            ) from None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0
