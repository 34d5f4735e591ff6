"""A real car joins, changes its keys while its agent runs, and is revoked, on both brokers."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from device.home import Home
from device.journal import Journal
from tests.contracts.brokers import KINDS, PARKFLEET, wait_for
from tests.e2e.servers import Server, serving
from tests.fleet_server.fleet import jpeg, sample

pytestmark = [pytest.mark.e2e, pytest.mark.long]

NAME = "car-1"
PAIRS = 20
WAIT_S = 40.0


@dataclass
class Car:
    """A car's home, its agent's process, and what drive would log."""

    server: Server
    home: Home
    agent: subprocess.Popen[bytes]
    journal: Journal
    logged: int = 0

    def log(self) -> None:
        """Let drive log pairs, which the agent then sends."""
        numbers = range(self.logged, self.logged + PAIRS)
        pairs = [(sample(n, device=NAME), jpeg(n)) for n in numbers]
        self.journal.append(samples=pairs, manoeuvres=[])
        self.logged += PAIRS

    def waiting(self) -> int:
        return self.journal.counts().queue_depth

    def enrol(self, *arguments: str) -> str:
        """Run the verb and return the fingerprint that it tells."""
        told = self.server.run(
            "device", "enrol", "--home", str(self.home.root), *arguments, "--json"
        )
        return str(msgspec.json.decode(told)["fingerprint"])

    def shown(self, name: str) -> object:
        return self.server.call("GET", f"devices/{NAME}")[name]


@pytest.fixture(params=KINDS)
def car(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Car]:
    with serving(request.param, tmp_path) as server:
        for role in ("ingest", "control"):
            server.start(role)
        wanted = {"device": NAME, "deployment": "garage", "reason": "a test's car"}
        code = server.call("POST", "enrolments", wanted)["code"]
        home = Home(tmp_path / "car")
        url = f"http://127.0.0.1:{server.port}"
        command = ["device", "enrol", "--home", str(home.root), "--server", url]
        server.run(*command, "--name", NAME, "--code", code)
        command = [*PARKFLEET, "device", "agent", "--home", str(home.root)]
        place = ["--broker", f"127.0.0.1:{server.broker.port}"]
        log = (tmp_path / "agent.log").open("wb")
        agent = subprocess.Popen([*command, *place], stdout=log, stderr=log)
        journal = Journal.open(home.journal)
        try:
            yield Car(server, home, agent, journal)
        finally:
            agent.kill()
            agent.wait()
            log.close()
            journal.close()


def test_a_car_joins_changes_its_keys_and_is_revoked_and_no_pair_is_lost(car: Car) -> None:
    car.log()
    wait_for(lambda: car.shown("presence") == "online", "the unconfirmed car to be seen", WAIT_S)
    assert (car.shown("state"), car.shown("pairs_stored")) == ("unconfirmed", 0)
    assert car.waiting() == PAIRS

    because = {"fingerprint": car.shown("fingerprint"), "reason": "compared at the car"}
    car.server.call("POST", f"devices/{NAME}/confirm", because)
    wait_for(lambda: car.waiting() == 0, "what waited to be stored", WAIT_S)

    before = car.shown("fingerprint")
    after = car.enrol("--rotate")
    assert car.shown("fingerprint") == after != before
    car.log()
    wait_for(lambda: car.waiting() == 0, "what was logged under the new keys", WAIT_S)
    assert car.shown("pairs_stored") == 2 * PAIRS
    assert (car.shown("state"), car.agent.poll()) == ("confirmed", None)

    car.server.call("POST", f"devices/{NAME}/revoke", {"reason": "it was stolen"})
    log = (Path(car.home.root).parent / "agent.log").read_text
    wait_for(lambda: "no_connection reason=refused" in log("utf-8"), "the refusal", WAIT_S)
    car.log()
    wait_for(lambda: car.waiting() == PAIRS, "pairs that nobody takes", WAIT_S)
    assert car.shown("pairs_stored") == 2 * PAIRS
    assert car.shown("presence") == "offline"
