"""Brokers and servers as processes of their own, for as long as a benchmark needs them.

Laws:
- what is started listens on a free port of this machine and ends with its block;
- a process that ended by itself fails the benchmark, with what it wrote.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from hardware_sim.lab.fleet import free_port
from shared.errors import UsageError

CORES: Final = len(os.sched_getaffinity(0))
_CONNECTIONS: Final = 2
"""Of a whole server to its broker: one for batches, one for everything else."""

_ASKED_S: Final = 1.0
"""For what a server asks the broker for once it is connected."""

MOSQUITTO: Final = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """Run mosquitto with the limits of `parkfleet broker config`; give its port."""
    if not Path(MOSQUITTO).exists():
        raise UsageError("this benchmark needs mosquitto (apt install mosquitto)")
    port = free_port()
    # Limits as `parkfleet broker config` writes them; rights are not what is measured.
    lines = (
        *(f"listener {port} 127.0.0.1", "allow_anonymous true", "log_type error"),
        *("max_inflight_messages 100", "max_queued_messages 10000", "set_tcp_nodelay true"),
    )
    path = folder / "mosquitto.conf"
    path.write_text("\n".join(lines) + "\n")
    with process([MOSQUITTO, "-c", str(path)], port):
        yield port


@contextmanager
def ingest(state: Path, broker_port: int) -> Iterator[None]:
    """Run one ingest process a core, which share the batches."""
    words = [sys.executable, "-m", "shared", "server", "--state", str(state), "--role", "ingest"]
    words += ["--broker-port", str(broker_port)]
    with ExitStack() as stack:
        for _ in range(CORES):
            log = stack.enter_context(started(words))
            wait_until(partial(_has_connected, log, 1))
        time.sleep(_ASKED_S)
        yield


def _has_connected(log: Path, times: int) -> bool:
    return log.read_bytes().count(b"broker_connected") >= times


@contextmanager
def server(state: Path, broker_port: int) -> Iterator[int]:
    """Run the fleet server; give its port once it listens there and to the broker."""
    port = free_port()
    words = [sys.executable, "-m", "shared", "server", "--state", str(state)]
    words += ["--port", str(port), "--broker-port", str(broker_port)]
    with started(words) as log:
        wait_until(partial(_listens, port))
        # A batch that comes before anybody asked for batches is nobody's.
        wait_until(partial(_has_connected, log, _CONNECTIONS))
        time.sleep(_ASKED_S)
        yield port


@contextmanager
def process(words: list[str], port: int) -> Iterator[None]:
    """Run a process until the block ends, from when it listens on `port`."""
    with started(words):
        wait_until(partial(_listens, port))
        yield


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def started(words: list[str]) -> Iterator[Path]:
    """Run a process until the block ends; give what it writes, and show it where it failed."""
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            yield Path(log.name)
            has_ended = process.poll() is not None
        except RuntimeError as error:
            error.add_note(Path(log.name).read_text(encoding="utf-8"))
            raise
        finally:
            process.terminate()
            process.wait()
        if has_ended:
            raise RuntimeError(Path(log.name).read_text(encoding="utf-8"))


def wait_until(is_ready: Callable[[], bool]) -> None:
    """Wait, at most a minute, until `is_ready` says so."""
    for _ in range(600):
        if is_ready():
            return
        time.sleep(0.1)
    raise RuntimeError("a process did not start within a minute")
