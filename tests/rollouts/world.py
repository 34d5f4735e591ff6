"""A fleet server, a broker and simulated cars, to take models through rollouts.

Laws:
- server and broker are processes as an operator runs them; models come in over REST, signed by a
  training worker's key, and are decided on by the server's own loop;
- between server and broker a proxy counts what the server sends;
- cars are those of `hardware_sim.fleet_sim`: real agents, real journals, real connections; each
  model has the error that it is given, in millimetres, on a floor that makes it harder or easier.
"""

import random
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from device.agent.enrolment import broker_address
from device.agent.probe import Verdict
from device.home import Home
from hardware_sim import scene as scenes
from hardware_sim.fleet_sim import reels, remote, run
from hardware_sim.fleet_sim.car import Car, Identity
from hardware_sim.fleet_sim.fleets import Prober, fork
from hardware_sim.fleet_sim.habits import Habits
from hardware_sim.fleet_sim.links import BrokerLink
from hardware_sim.fleet_sim.reels import Reel
from hardware_sim.lab import rest
from hardware_sim.replay import TapeClock
from shared.clock import SystemClock
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.messages import UploadLevel
from tests.contracts.brokers import PARKFLEET, running, wait_for
from tests.rollouts.wire import Count, Proxy
from trainer.worker.client import Server as TrainerServer
from trainer.worker.sign import add_release, load_signer

DEPLOYMENT = "simulated"
TINY = Path(__file__).parent.parent / "device" / "data" / "tiny.tflite"
_WORKER = "trainer-1"
_STILLS = 8
"""Pictures of a manoeuvre: fewer than a car's 25, since what is looked at is the fleet."""


@dataclass
class World:
    """One fleet."""

    folder: Path
    url: str
    operator: rest.Server
    trainer_token: str
    proxy: Proxy
    seed: int
    speed: float
    cars: list[Car] = field(default_factory=list)
    errors_mm: dict[str, float] = field(default_factory=dict)
    releases: int = 0

    def __post_init__(self) -> None:
        self.real = SystemClock()
        self.clock = TapeClock(self.real, speed=self.speed)
        self.rng = random.Random(self.seed)
        self.prober = Prober(self.real)
        rendered = reels.render(scenes.load("beige"), count=4, seed=self.seed)
        self.reels = [Reel(stills=each.stills[:_STILLS]) for each in rendered]

    @property
    def sent(self) -> Count:
        """What the server has sent to the broker."""
        return self.proxy.up

    def release(self, *, error_mm: float, size_bytes: int = 0) -> str:
        """Have a worker hand in a new model, which errs by `error_mm`; return its digest."""
        self.releases += 1
        # What follows a flatbuffer is passed over: the same network under another digest.
        model = TINY.read_bytes().ljust(size_bytes, b"\0") + bytes([self.releases])
        self.operator.post("training-jobs", {"deployment": DEPLOYMENT, "reason": "a rollout"})
        with TrainerServer(self.url, self.trainer_token) as server:
            job = server.claim(_WORKER)
            assert job is not None
            made = self._manifest(model, job.release_seq, error_mm)
            role = add_release(
                server.role_metadata(_WORKER),
                load_signer(self.folder / "trainer" / "keys" / "release.key"),
                made,
                model,
                utc_us=self.real.utc_us(),
            )
            server.register(job, made, model, role)
        self.errors_mm[made.sha256] = error_mm
        return made.sha256

    def _manifest(self, model: bytes, release_seq: int, error_mm: float) -> Manifest:
        plain = Manifest.from_json(TINY.with_suffix(".json").read_bytes())
        return msgspec.structs.replace(
            plain,
            sha256=sha256_hex(model),
            size_bytes=len(model),
            deployment=DEPLOYMENT,
            release_seq=release_seq,
            metrics={**plain.metrics, "test_mae": error_mm},
        )

    def enrol(
        self,
        count: int,
        *,
        manoeuvres: int = 1,
        weak: Sequence[int] = (),
        upload: UploadLevel = "characteristics",
    ) -> None:
        """Take `count` cars into the fleet; the machines of those in `weak` fail newer models."""
        everyone = remote.enrolled(count, self.folder / "cars", self.operator, DEPLOYMENT)
        for number, who in enumerate(everyone):
            habits = Habits(
                manoeuvres=manoeuvres,
                upload=upload,
                errors_mm=self.errors_mm,
                floor=self.rng.uniform(0.8, 1.25),
            )
            self.cars.append(self._car(who, habits, is_weak=number in weak))

    def _car(self, who: Identity, habits: Habits, *, is_weak: bool) -> Car:
        return Car(
            who,
            link=BrokerLink(broker_address(who.home, who.enrolment)),
            clock=self.clock,
            rng=fork(self.rng),
            probe=self._weak_probe if is_weak else self.prober,
            habits=habits,
        )

    def _weak_probe(self, home: Home, sha256: str) -> Verdict:
        """Pass the first model and refuse each later one, as a machine that is too slow for it."""
        verdict = self.prober(home, sha256)
        first = next(iter(self.errors_mm))
        too_slow = "an estimate takes 60000 us, limit 33333"
        return verdict if sha256 == first else msgspec.structs.replace(verdict, reason=too_slow)

    def round(self, cars: Sequence[Car], *, over_s: float) -> None:
        """Let each of `cars` make one trip within `over_s` seconds of virtual time."""
        run.trip(cars, self.reels, clock=self.clock, rng=self.rng, over_s=over_s)

    def rollout(self) -> Mapping[str, Any] | None:
        """Return where the newest rollout stands; None before the first."""
        try:
            found: Mapping[str, Any] = self.operator.get(f"deployments/{DEPLOYMENT}/rollout")
        except RefusedError:
            return None
        return found

    def order(self, state: str, reason: str) -> None:
        """Pause, resume, abort or promote."""
        body = {"state": state, "reason": reason}
        self.operator.put(f"deployments/{DEPLOYMENT}/rollout", body)

    def latest(self) -> str | None:
        """Return the digest that the deployment runs."""
        everyone = {item["name"]: item for item in self.operator.all("deployments")}
        latest: str | None = everyone[DEPLOYMENT]["latest"]
        return latest

    def loaded(self) -> dict[str, str | None]:
        """Return the digest that each car reports as loaded, as the server knows it."""
        return {item["device"]: item["loaded"] for item in self.operator.all("devices")}

    def decisions(self) -> list[Mapping[str, Any]]:
        """Return the log book."""
        return list(self.operator.all("decisions"))


@contextmanager
def serving(
    folder: Path, *, seed: int, speed: float, settings: Mapping[str, object]
) -> Iterator[World]:
    """Run a server with `settings` over mosquitto; simulated cars enrol with it."""
    with running("mosquitto") as broker, ExitStack() as stack:
        proxy = Proxy(broker.port)
        stack.callback(proxy.close)
        state, trainer = str(broker.state), str(folder / "trainer")
        _run(
            *("releases", "init", "--owner", str(folder / "owner"), "--server-state", state),
            *("--trainer", trainer, "--trainer-name", _WORKER),
        )
        lines = {
            "broker_port": proxy.port,
            "advertised_broker_port": broker.port,
            "first_training_pairs": 1_000_000_000,
            **settings,
        }
        (broker.state / "server.toml").write_text(
            "".join(f"{name} = {_toml(value)}\n" for name, value in lines.items()), "utf-8"
        )
        url = f"http://127.0.0.1:{_start(stack, folder, state)}"
        admin, worker = (_token(state, role) for role in ("admin", "trainer"))
        operator = rest.Server(url, admin)
        stack.callback(operator.close)
        wait_for(operator.is_ready, "the server", 120.0)
        operator.post("deployments", {"name": DEPLOYMENT, "reason": "a rollout"})
        yield World(
            folder=folder,
            url=url,
            operator=operator,
            trainer_token=worker,
            proxy=proxy,
            seed=seed,
            speed=speed,
        )


def _start(stack: ExitStack, folder: Path, state: str) -> int:
    """Start the server; return its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    log = stack.enter_context((folder / "server.log").open("wb"))
    command = [*PARKFLEET, "server", "--state", state, "--port", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return port


def _token(state: str, role: str) -> str:
    named = ("--role", role, "--name", f"{role}-1", "--reason", "a rollout")
    return _run("token", "create", "--state", state, *named)


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [*PARKFLEET, *arguments], capture_output=True, text=True, timeout=180, check=True
    )
    return done.stdout.strip()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
