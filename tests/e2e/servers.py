"""A server as several processes over one state folder and one real broker."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from hardware_sim.lab.fleet import free_port
from tests.contracts.brokers import PARKFLEET, Broker, Kind, running, wait_for


@dataclass
class Part:
    """One process of the server and what it logs."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self, text: str) -> int:
        """Return how often the process logged `text`."""
        return self.log.read_text("utf-8").count(text)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Server:
    """The processes on one state folder, and an operator's way to them."""

    broker: Broker
    folder: Path
    stack: ExitStack
    port: int
    token: str = ""
    parts: list[Part] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*PARKFLEET, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    def start(self, role: str, *options: str) -> Part:
        log = self.folder / f"{role}-{len(self.parts)}.log"
        arguments = ["server", "--role", role, "--state", str(self.broker.state)]
        arguments += ["--port", str(self.port), "--broker-port", str(self.broker.port)]
        arguments += options
        file = self.stack.enter_context(log.open("wb"))
        process = subprocess.Popen([*PARKFLEET, *arguments], stdout=file, stderr=file)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        part = Part(process, log)
        self.parts.append(part)
        wait_for(lambda: part.said(f"running role={role}") > 0, f"role {role}", 30.0)
        return part

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx2.request(
            method,
            f"http://127.0.0.1:{self.port}/api/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def serving(kind: Kind, folder: Path) -> Iterator[Server]:
    """Give a server that has its REST process, over a broker of that kind."""
    with running(kind) as broker, ExitStack() as stack:
        made = Server(broker, folder, stack, free_port())
        made.run(
            *("releases", "init", "--owner", str(folder / "owner")),
            *("--server-state", str(broker.state), "--trainer", str(folder / "trainer")),
            *("--trainer-name", "trainer-1"),
        )
        made.start("api")
        role = ("--role", "operator", "--name", "anna")
        made.token = made.run("token", "create", "--state", str(broker.state), *role)
        made.call("POST", "deployments", {"name": "garage", "reason": "a test"})
        yield made
