"""Real processes: none is left behind, and none dies unnoticed."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hardware_sim.lab.processes import ProcessDiedError, Processes, WaitTimeoutError
from shared.clock import SystemClock
from shared.errors import ParkfleetError
from tests.fleet_server.fleet import VirtualClock

pytestmark = pytest.mark.slow


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """An empty set of processes that logs into the test's folder."""
    with Processes(tmp_path / "logs", SystemClock(), dict(os.environ)) as made:
        yield made


def test_a_process_that_ends_is_told_in_one_line_with_its_last_word_and_log(
    processes: Processes,
) -> None:
    log = processes.start("wrong", ["nosuch-verb"]).log
    with pytest.raises(ProcessDiedError, match=r"wrong ended with code 2.*nosuch-verb") as told:
        processes.wait_for("never", lambda: None, timeout_s=20, each_s=0.02)
    assert str(told.value).endswith(f"its log: {log}")
    assert "\n" not in str(told.value)


def test_a_killed_process_is_told_by_the_name_of_the_signal(processes: Processes) -> None:
    child = processes.start("victim", ["broker", "run", "--state", str(processes.logs)])
    child.popen.kill()
    with pytest.raises(ProcessDiedError, match="victim was killed by SIGKILL; its log: "):
        processes.wait_for("never", lambda: None, timeout_s=20, each_s=0.02)


def test_waiting_in_vain_says_for_what(processes: Processes) -> None:
    with pytest.raises(WaitTimeoutError, match="a sunny day: nothing within 0 s"):
        processes.wait_for("a sunny day", lambda: None, timeout_s=0.01, each_s=0.01)


def test_a_machine_that_slept_has_not_waited(tmp_path: Path) -> None:
    clock = VirtualClock()
    processes = Processes(tmp_path, clock, {})
    looks = iter([False, False, True])

    def slept() -> bool:
        clock.now_us += 3_600_000_000
        return next(looks)

    assert processes.wait_for("the morning", slept, timeout_s=60)


def test_an_interrupted_command_is_ended_and_collected(processes: Processes) -> None:
    thread = threading.main_thread().ident
    assert thread is not None
    before = psutil.Process().children()
    interrupt = threading.Timer(0.5, signal.pthread_kill, (thread, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        processes.run(["broker", "run", "--state", str(processes.logs), "--port", "0"])
    assert [each for each in psutil.Process().children() if each not in before] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_python_swallowed_ends_the_wait(
    processes: Processes, number: signal.Signals
) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        processes.wait_for("a sunny day", lambda: None, timeout_s=5, each_s=0.01)


def test_a_command_that_fails_is_told_by_what_it_said(processes: Processes) -> None:
    with pytest.raises(ParkfleetError, match=r"device status failed: .*nowhere"):
        processes.run(["device", "status", "--home", "nowhere"])


def test_no_process_outlives_a_killed_laboratory(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from hardware_sim.lab import processes\n"
        "from shared.clock import SystemClock\n"
        "with processes.Processes(Path(sys.argv[1]), SystemClock(), dict(os.environ)) as p:\n"
        "    child = p.start('broker', ['broker', 'run', '--state', sys.argv[1], '--port', '0'])\n"
        "    print(child.popen.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    laboratory = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert laboratory.stdout is not None
    child = int(laboratory.stdout.readline())
    laboratory.send_signal(signal.SIGKILL)
    laboratory.wait()
    laboratory.stdout.close()
    assert _ended(child)


def _ended(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)
