"""The broker of an experiment: mosquitto where it is installed, as a fleet has it, else ours.

Laws:
- its configuration is the one that `parkfleet broker config` writes and keeps up to date; what an
  experiment changes of it is named, line by line;
- `kill` is SIGKILL; `wipe` is a broker that forgets everything: what it kept is removed.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from hardware_sim.lab.processes import Processes
from tests.contracts.brokers import MOSQUITTO

_HOST: Final = "127.0.0.1"
_READY_S: Final = 60.0


class Broker(Protocol):
    """A broker at `port`; `name` is what reports call it, `pid` that of its process."""

    name: str
    port: int

    @property
    def pid(self) -> int:
        """The process that runs now."""
        ...

    def start(self) -> None:
        """Start it, and wait until it listens."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...

    def wipe(self) -> None:
        """Remove all that it kept; it does not run."""
        ...


class Embedded:
    """The broker of `parkfleet broker run`, which keeps nothing."""

    name = "the embedded broker"

    def __init__(self, processes: Processes, state: Path, port: int) -> None:
        """Serve the users of `state`; it does not run yet."""
        self._processes, self._state, self.port = processes, state, port

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self._processes.children["broker"].popen.pid

    def start(self) -> None:
        """Start it, and wait until it listens."""
        where = ("--state", str(self._state), "--host", _HOST, "--port", str(self.port))
        self._processes.start("broker", ["broker", "run", *where])
        _await(self._processes, self.port)

    def kill(self) -> None:
        """Kill it."""
        self._processes.kill("broker")

    def wipe(self) -> None:
        """Do nothing: it keeps nothing."""


class Mosquitto:
    """mosquitto with our configuration, changed by `limits`: values by the option's name."""

    name = "mosquitto"

    def __init__(self, processes: Processes, state: Path, port: int) -> None:
        """Serve the users of `state`; it does not run yet."""
        self._processes, self._state, self.port = processes, state, port
        self._folder = processes.logs.parent / "mosquitto"
        self._popen: subprocess.Popen[bytes] | None = None
        self.limits: Mapping[str, str] = {}

    @property
    def pid(self) -> int:
        """The process that runs now."""
        if self._popen is None:
            raise RuntimeError("mosquitto does not run")
        return self._popen.pid

    def start(self) -> None:
        """Start it, and wait until it listens."""
        written = self._folder / "mosquitto.conf"
        if "mosquitto-config" not in self._processes.children:
            where = ("--state", str(self._state), "--host", _HOST, "--port", str(self.port))
            to = ("--out", str(self._folder), "--follow")
            self._processes.start("mosquitto-config", ["broker", "config", *where, *to])
            passwords = self._folder / "passwords"
            self._processes.wait_for(
                "mosquitto's configuration", passwords.exists, timeout_s=_READY_S, each_s=0.05
            )
        configuration = self._folder / "experiment.conf"
        configuration.write_text("\n".join([*_changed(written.read_text(), self.limits), ""]))
        with (self._processes.logs / "mosquitto.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [MOSQUITTO, "-c", str(configuration)], stdout=log, stderr=log
            )
        _await(self._processes, self.port)

    def kill(self) -> None:
        """Kill it; nothing happens where it does not run."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def wipe(self) -> None:
        """Remove all that it kept; it does not run."""
        for each in (self._folder / "data").glob("*"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def has_mosquitto() -> bool:
    """Tell whether mosquitto is here."""
    return Path(MOSQUITTO).exists()


def _changed(written: str, limits: Mapping[str, str]) -> list[str]:
    """Return the lines of a configuration with some values changed, and others added."""
    kept = [line for line in written.splitlines() if line.partition(" ")[0] not in limits]
    added = [f"{name} {value}" for name, value in limits.items()]
    # Started by root it would become a user of its own, who may not enter this folder.
    return [*kept, *added, *(["user root"] if os.geteuid() == 0 else [])]


def _await(processes: Processes, port: int) -> None:
    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((_HOST, port)) == 0

    processes.wait_for("the broker", listens, timeout_s=_READY_S, each_s=0.02)
