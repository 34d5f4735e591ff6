"""The terminal console in a real terminal (tmux, 80x24) on a live broker.

It sees a car go by its last will, gives an order and shows the answer; with the fleet server killed
it does so still; revoked, it is cut off.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hardware_sim.lab.fleet import Fleet
from shared import cli
from tests.contracts.brokers import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.long]

TMUX = shutil.which("tmux")


@dataclass
class Terminal:
    """A terminal of 80x24 that runs one command."""

    socket: Path

    def start(self, command: list[str]) -> None:
        shell = f"NO_COLOR=1 {' '.join(command)}; echo ended with $?; sleep 60"
        self._tmux("new-session", "-d", "-x", "80", "-y", "24", shell)

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def shows(self, text: str) -> None:
        def is_there() -> bool:
            return text in self.text()

        try:
            wait_for(is_there, repr(text), 30.0)
        except AssertionError:
            pytest.fail(f"{text!r} is not on the screen:\n{self.text()}")

    def end(self) -> None:
        self._tmux("kill-server", check=False)

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [str(TMUX), "-S", str(self.socket), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            check=check,
        )
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if TMUX is None:
        pytest.skip("tmux is not installed (apt install tmux)")
    made = Terminal(tmp_path / "tmux")
    yield made
    made.end()


def test_a_console_sees_a_car_go_and_is_obeyed_with_the_server_up_and_down(
    fleet: Fleet, terminal: Terminal
) -> None:
    fleet.start_broker()
    fleet.start_server()
    fleet.server.post("deployments", {"name": "garage", "reason": "a test"})
    car = fleet.add_car("car-1", "garage")
    fleet.start_agent(car)
    home, state = str(fleet.folder / "console"), str(fleet.server_state)
    place = f"127.0.0.1:{fleet.broker_port}"
    enrol = ("enrol", "--name", "anna", "--role", "operator", "--home", home, "--state", state)
    assert cli.run(["console", *enrol]) == 0
    terminal.start([sys.executable, "-m", "shared", "console", "--home", home, "--broker", place])

    terminal.shows("1 of 1 cars online")
    terminal.press("y")
    terminal.shows("sync car-1: done")
    wait_for(lambda: "ordered at a terminal console" in decisions(fleet), "the log book")

    fleet.processes.kill("server")
    terminal.press("x")
    terminal.shows("stop car-1: done")
    fleet.processes.kill("car-1-agent")
    terminal.shows("! offline")
    terminal.shows("0 of 1 cars online")
    terminal.press("y")
    terminal.shows("car-1 is not connected; only stop is said all the same")

    assert cli.run(["console", "revoke", "--name", "anna", "--state", state]) == 0
    terminal.shows("NO CONNECTION: it does not know this console")
    terminal.press("q")
    terminal.shows("ended with 0")


def decisions(fleet: Fleet) -> str:
    return str(fleet.server.get("decisions"))
