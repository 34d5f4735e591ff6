"""The server as a process, with a real broker: what a car and an operator see of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hardware_sim.lab.fleet import free_port
from shared import codec, topics
from shared.ids import sha256_hex
from shared.messages import Batch, Desired, Presence, Receipt, ReleaseMetadata
from shared.mqtt import Address, Connection
from shared.mqtt_events import Connected, Received
from shared.signing import SigningKey, VerifyKey, open_envelope, seal
from tests.fleet_server.fleet import BOOT, drive, status

pytestmark = pytest.mark.e2e

WAIT_S = 20.0
COMMAND = [sys.executable, "-m", "shared"]
SECRET = "5e" * 32


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@dataclass
class World:
    """A broker and a server of one state folder, as processes."""

    state: Path
    stack: ExitStack
    broker_port: int
    http_port: int
    server: subprocess.Popen[bytes]
    token: str = ""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.stack.enter_context((self.state.parent / f"{arguments[0]}.log").open("ab"))
        return subprocess.Popen([*COMMAND, *arguments], stderr=log, stdout=log)

    def start_server(self) -> None:
        self.server = self.start("server", *self.server_arguments())
        _wait(self.is_ready, "the server")

    def server_arguments(self) -> list[str]:
        return [
            *("--state", str(self.state), "--port", str(self.http_port)),
            *("--broker-port", str(self.broker_port)),
        ]

    def is_ready(self) -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{self.http_port}/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx2.request(
            method,
            f"http://127.0.0.1:{self.http_port}/api/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    state = folder / "server"
    with ExitStack() as stack:
        made = World(state, stack, free_port(), free_port(), server=None)  # type: ignore[arg-type]  # set below
        initialised = made.run(
            *("releases", "init", "--owner", str(folder / "owner"), "--server-state", str(state)),
            *("--trainer", str(folder / "trainer"), "--trainer-name", "trainer-1"),
        )
        assert initialised.returncode == 0, initialised.stderr
        broker = made.start("broker", "run", "--state", str(state), "--port", str(made.broker_port))
        stack.callback(_end, broker)
        made.start_server()
        stack.callback(lambda: _end(made.server))
        token = made.run(
            *("token", "create", "--state", str(state), "--role", "operator", "--name", "t")
        )
        made.token = token.stdout.strip()
        made.call("POST", "deployments", {"name": "garage", "reason": "a test"})
        yield made


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@dataclass
class Car:
    """A car that speaks MQTT and nothing else."""

    name: str
    key: SigningKey
    server_key: VerifyKey
    connection: Connection

    def receive(self, row: topics.Topic) -> bytes:
        """Return the next message on this car's (or everybody's) topic of a kind."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            event = self.connection.next_event(0.2)
            if isinstance(event, Connected):
                self.connection.subscribe(topics.RECEIPT.filter(id=self.name))
                self.connection.subscribe(topics.DESIRED.filter(id=self.name))
                self.connection.subscribe(topics.RELEASE_METADATA.filter())
            elif isinstance(event, Received):
                self.connection.acknowledge(event)
                if row.parts(event.topic) is not None:
                    return event.payload
        pytest.fail(f"no {row.name} came")

    def send(self, batch: Batch) -> None:
        topic = topics.BATCH.topic(id=self.name)
        self.connection.publish(topic, seal(batch, topic=topic, key=self.key))

    def receipt(self) -> Receipt:
        topic = topics.RECEIPT.topic(id=self.name)
        return open_envelope(
            topics.RECEIPT,
            self.receive(topics.RECEIPT),
            topic=topic,
            message_type=Receipt,
            key=self.server_key,
        )


@pytest.fixture
def car(world: World) -> Iterator[Car]:
    name = f"car-{os.urandom(3).hex()}"
    wanted = {"device": name, "deployment": "garage", "reason": "a test"}
    code = world.call("POST", "enrolments", wanted)["code"]
    key = SigningKey.generate()
    claim = {
        "code": code,
        "device": name,
        "public_key": key.public.raw.hex(),
        "mqtt_secret_sha256": sha256_hex(SECRET.encode()),
    }
    told = world.call("POST", "enrolments/claim", claim)
    because = {"fingerprint": key.public.fingerprint, "reason": "a test's car"}
    world.call("POST", f"devices/{name}/confirm", because)
    address = Address(host="127.0.0.1", port=told["broker"]["port"], user=name, password=SECRET)
    connection = Connection(address)
    connection.start()
    yield Car(name, key, VerifyKey(bytes.fromhex(told["server_public_key"])), connection)
    connection.stop()


def test_a_car_is_told_what_to_run_and_its_pairs_are_receipted(world: World, car: Car) -> None:
    topic = topics.DESIRED.topic(id=car.name)
    desired = open_envelope(
        topics.DESIRED,
        car.receive(topics.DESIRED),
        topic=topic,
        message_type=Desired,
        key=car.server_key,
    )
    assert (desired.deployment, desired.target, desired.revision) == ("garage", None, 1)
    car.send(drive(0, device=car.name))
    assert car.receipt().outcome == "stored"
    car.send(drive(0, device=car.name))
    assert car.receipt().outcome == "duplicate"
    assert world.call("GET", f"devices/{car.name}")["pairs_stored"] == 10


def test_release_metadata_is_retained_for_every_car(car: Car) -> None:
    body = car.receive(topics.RELEASE_METADATA)
    row = topics.RELEASE_METADATA
    files = codec.decode(ReleaseMetadata, body, limit_bytes=row.limit_bytes).files
    assert {"1.root.json", "timestamp.json"} <= set(files)


def test_presence_and_status_are_shown(world: World, car: Car) -> None:
    car.receive(topics.DESIRED)
    presence = Presence(device=car.name, boot=BOOT, connection=1, online=True)
    said = status(
        car.name,
        loaded="ab" * 32,
        loaded_release_seq=1,
        deployment="garage",
        desired_revision=1,
        queue_depth=7,
        pairs_logged=9,
        pairs_dropped=2,
        faults=("range sensor",),
        dropped={"crowded": 2},
    )
    car.connection.publish(topics.PRESENCE.topic(id=car.name), codec.encode(presence))
    car.connection.publish(topics.STATUS.topic(id=car.name), codec.encode(said))
    _wait(lambda: world.call("GET", f"devices/{car.name}")["queue_depth"] == 7, "the status")
    view = world.call("GET", f"devices/{car.name}")
    assert (view["online"], view["loaded"], view["faults"]) == (True, "ab" * 32, ["range sensor"])
    assert (view["pairs_dropped"], view["dropped"]) == (2, {"crowded": 2})


def test_a_killed_server_loses_and_doubles_nothing_that_it_receipted(
    world: World, car: Car
) -> None:
    car.receive(topics.DESIRED)
    for manoeuvre in range(3):
        car.send(drive(manoeuvre, device=car.name))
        assert car.receipt().outcome == "stored"
    world.server.send_signal(signal.SIGKILL)
    world.server.wait()
    world.start_server()
    # The new server's own greeting tells that it listens again.
    car.receive(topics.DESIRED)
    for manoeuvre in range(2, 5):
        car.send(drive(manoeuvre, device=car.name))
        assert car.receipt().outcome == ("duplicate" if manoeuvre == 2 else "stored")
    assert world.call("GET", f"devices/{car.name}")["pairs_stored"] == 50


def test_a_port_in_use_ends_with_one_line_that_says_what_to_do(world: World) -> None:
    done = world.run("server", *world.server_arguments())
    assert done.returncode == 2
    assert "--port" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_server_cleanly_and_its_state_is_usable(
    world: World, signal_number: signal.Signals, status: int
) -> None:
    world.server.send_signal(signal_number)
    assert world.server.wait(WAIT_S) == status
    world.start_server()


def test_a_signal_ends_open_streams_of_events_without_a_word_of_complaint(
    world: World, car: Car
) -> None:
    log = world.state.parent / "server.log"
    url = f"http://127.0.0.1:{world.http_port}/api/v1/devices/{car.name}/events"
    headers = {"Authorization": f"Bearer {world.token}"}
    before = len(log.read_text())
    with httpx2.stream("GET", url, headers=headers, timeout=WAIT_S) as answer:
        lines = answer.iter_lines()
        assert car.name in next(lines)
        world.server.send_signal(signal.SIGTERM)
        assert not any("Traceback" in line for line in lines)
    assert world.server.wait(WAIT_S) == 0
    assert "Traceback" not in log.read_text()[before:]
    world.start_server()


@pytest.mark.parametrize("role", ["ingest", "control"])
def test_a_part_alone_ends_on_a_signal(world: World, role: str) -> None:
    part = world.start("server", *world.server_arguments(), "--role", role)
    log = world.state.parent / "server.log"
    _wait(lambda: f"running role={role}" in log.read_text(), "the part")
    part.send_signal(signal.SIGTERM)
    assert part.wait(WAIT_S) == 0
