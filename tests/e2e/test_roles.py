"""A server of several processes, one role each, over one database and a real broker."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hardware_sim.lab.fleet import free_port
from shared import codec, topics
from shared.credentials import make_verifier
from shared.ids import sha256_hex
from shared.messages import Command, CommandResult, Desired, Presence, Receipt
from shared.signing import SigningKey, VerifyKey, open_envelope, seal
from tests.contracts.brokers import Client, secret_of, wait_for
from tests.e2e.servers import Server, serving
from tests.fleet_server.fleet import BOOT, drive

pytestmark = pytest.mark.e2e

BATCHES = 24


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Give a server that has its REST process, over the broker that the test asks for."""
    with serving(request.param, tmp_path) as made:
        yield made


@dataclass
class Car:
    """A car that speaks MQTT and nothing else."""

    name: str
    key: SigningKey
    server_key: VerifyKey
    client: Client

    def send(self, manoeuvre: int) -> bytes:
        """Send a batch; return its digest."""
        topic = topics.BATCH.topic(id=self.name)
        body = seal(drive(manoeuvre, device=self.name, pairs=3), topic=topic, key=self.key)
        self.client.connection.publish(topic, body)
        return sha256_hex(body).encode()

    def heard(self, row: topics.Topic) -> list[Any]:
        """Return the server's signed words to this car of one kind."""
        self.client.payloads()
        return [
            open_envelope(
                row,
                each.payload,
                topic=each.topic,
                message_type=row.message,
                key=self.server_key,
            )
            for each in self.client.heard
            if row.parts(each.topic) is not None
        ]

    def stored(self) -> list[str]:
        receipts: list[Receipt] = self.heard(topics.RECEIPT)
        return [each.batch for each in receipts if each.outcome == "stored"]

    def answered(self) -> set[str]:
        """Return what the car need not send again; a killed process may have stored it."""
        receipts: list[Receipt] = self.heard(topics.RECEIPT)
        return {each.batch for each in receipts if each.outcome != "rejected"}

    def say_online(self) -> None:
        presence = Presence(device=self.name, boot=BOOT, connection=1, online=True)
        topic = topics.PRESENCE.topic(id=self.name)
        self.client.connection.publish(topic, codec.encode(presence), retained=True)


def join(server: Server, name: str = "car-1") -> Car:
    """Enrol a car over REST, confirm it, and connect it with the broker."""
    wanted = {"device": name, "deployment": "garage", "reason": "a test's car"}
    code = server.call("POST", "enrolments", wanted)["code"]
    key = SigningKey(os.urandom(32))
    claim = {
        "code": code,
        "device": name,
        "public_key": key.public.raw.hex(),
        "mqtt_secret_sha256": sha256_hex(secret_of(name).encode()),
        "mqtt_verifier": make_verifier(secret_of(name), b"salt" * 3),
    }
    told = server.call("POST", "enrolments/claim", claim)
    because = {"fingerprint": key.public.fingerprint, "reason": "compared"}
    server.call("POST", f"devices/{name}/confirm", because)
    wait_for(lambda: server.broker.is_welcome(name), "the broker to know the car")
    client = server.broker.meet(name)
    for row in (topics.RECEIPT, topics.DESIRED, topics.COMMAND):
        client.connection.subscribe(row.filter(id=name))
    return Car(name, key, VerifyKey(bytes.fromhex(told["server_public_key"])), client)


def obey(server: Server, car: Car, verb: str) -> str:
    """Give the car an order over REST, answer it as the car, and return what became of it."""
    body = {"device": car.name, "verb": verb, "reason": "to see it obeyed"}
    number = server.call("POST", "commands", body)["id"]
    wait_for(lambda: number in [each.number for each in car.heard(topics.COMMAND)], "the order")
    (command,) = [each for each in car.heard(topics.COMMAND) if each.number == number]
    assert isinstance(command, Command)
    assert (command.boot, command.connection, command.actor) == (BOOT, 1, "anna")
    result = CommandResult(device=car.name, actor="anna", number=number, outcome="done")
    topic = topics.RESULT.topic(id=car.name, actor="anna")
    car.client.connection.publish(topic, codec.encode(result))
    state = ""

    def is_answered() -> bool:
        nonlocal state
        state = server.call("GET", f"commands/{number}")["state"]
        return state not in ("waiting", "sent")

    wait_for(is_answered, "the answer to be noted")
    return state


@pytest.mark.parametrize("server", ["mosquitto"], indirect=True)
def test_processes_of_one_role_each_serve_a_fleet_and_replace_each_other(server: Server) -> None:
    first, probe_port = server.start("ingest"), free_port()
    second = server.start("ingest", "--probe-port", str(probe_port))
    control = server.start("control")
    wait_for(lambda: control.said("lease_taken") == 1, "the lease")
    spare = server.start("control")
    wait_for(lambda: spare.said("lease_waits name=control") == 1, "the spare to wait")

    car = join(server)
    wait_for(lambda: bool(car.heard(topics.DESIRED)), "the wish")
    wish = car.heard(topics.DESIRED)[-1]
    assert isinstance(wish, Desired)
    assert wish.deployment == "garage"

    sent = {car.send(number).decode() for number in range(BATCHES)}
    wait_for(lambda: set(car.stored()) == sent, "all receipts", 30.0)
    assert len(car.stored()) == BATCHES, "a batch was stored twice"
    taken = [part.said("batch_stored") for part in (first, second)]
    assert sum(taken) == BATCHES
    assert all(taken), "one of two ingest processes took nothing"
    assert server.call("GET", f"devices/{car.name}")["pairs_stored"] == 3 * BATCHES
    probe = f"http://127.0.0.1:{probe_port}"
    told = httpx2.get(f"{probe}/metrics", headers={"Authorization": f"Bearer {server.token}"})
    assert f'parkfleet_batches_total{{outcome="stored"}} {taken[1]}.0' in told.text.splitlines()
    assert httpx2.get(f"{probe}/api/v1/devices").status_code == 404

    first.kill()
    more = {car.send(BATCHES + number).decode() for number in range(4)}
    wait_for(lambda: more <= car.answered() or _again(car), "the other ingest", 30.0)

    car.say_online()
    wait_for(lambda: server.call("GET", f"devices/{car.name}")["online"], "the presence")
    assert obey(server, car, "sync") == "done"
    control.kill()
    wait_for(lambda: spare.said("lease_taken") == 1, "the spare to take over")
    wait_for(lambda: spare.said("broker_connected") == 1, "the spare at the broker")
    assert obey(server, car, "identify") == "done"


def _again(car: Car) -> bool:
    """Send again what a killed process may have taken with it, as the car's agent does."""
    for number in range(4):
        car.send(BATCHES + number)
    return False


@pytest.mark.parametrize("server", ["amqtt"], indirect=True)
def test_a_broker_that_shares_nothing_gets_one_ingest_process(server: Server) -> None:
    first = server.start("ingest")
    wait_for(lambda: first.said("batches_not_shared") == 1, "the warning")
    second = server.start("ingest")
    assert second.process.wait(20.0) != 0
    assert second.said("this broker shares no batches") == 1
    assert second.said("Traceback") == 0

    car = join(server)
    sent = {car.send(number).decode() for number in range(3)}
    wait_for(lambda: set(car.stored()) == sent, "all receipts")
