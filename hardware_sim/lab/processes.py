"""Real processes of the laboratory: start them, watch them, kill them, end them.

Laws:
- every process gets a log file of its own and a session of its own, so that Ctrl-C reaches the
  laboratory alone, which then ends the others in order;
- no process outlives the laboratory, even if that is killed: the kernel ends them with it;
- `kill` is SIGKILL and means it; `stop` asks first;
- Ctrl-C and SIGTERM end the experiment wherever they strike: Python swallows an exception that is
  raised in a finalizer or a hook, so an interrupt is also remembered, and raised at the next check.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self, TypeVar

from shared.clock import Clock
from shared.errors import ParkfleetError

T = TypeVar("T")

_LONGEST_LOOK_US = 20_000_000
"""Above what one look takes at the most: a request to a server that does not answer."""

_LAUNCH = (
    "import ctypes, os, signal, sys;"
    # PR_SET_PDEATHSIG; a parent that died meanwhile is not heard of any more.
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL);"
    "os.getppid() == int(sys.argv[1]) or os._exit(1);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)
"""What a new process does before it becomes `parkfleet`: asks the kernel to end with its parent.

Not as `preexec_fn`: with it Python forks in earnest and runs its hooks, in which interrupts vanish.
"""


class ProcessDiedError(ParkfleetError):
    """A process that the experiment needs has ended; the text says how, and where its log is."""


class WaitTimeoutError(ParkfleetError):
    """Something that the experiment waited for did not come in time."""


@dataclass
class Child:
    """One process with its command and log."""

    name: str
    command: list[str]
    log: Path
    popen: subprocess.Popen[bytes]

    def end_in_words(self, code: int) -> str:
        """Return how the process ended, in one line, for its exit `code`."""
        if code < 0:
            return f"{self.name} was killed by {signal.Signals(-code).name}; its log: {self.log}"
        lines = self.log.read_text(errors="replace").splitlines() or ["nothing"]
        return f"{self.name} ended with code {code}, saying: {lines[-1]}; its log: {self.log}"


@dataclass
class Processes:
    """The children of one experiment. Use as a context, in the main thread: leaving it ends all."""

    logs: Path
    clock: Clock
    environment: dict[str, str]
    children: dict[str, Child] = field(default_factory=dict)
    is_interrupted: bool = False

    def __enter__(self) -> Self:
        """Make the folder for the logs, and listen for interrupts."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._handlers = {
            number: signal.signal(number, self._interrupt)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes, the youngest first."""
        try:
            self.stop_all()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.is_interrupted = True
        signal.default_int_handler(number, frame)

    def start(self, name: str, arguments: list[str]) -> Child:
        """Start `parkfleet ARGUMENTS` under `name`, which may have run before and ended."""
        command = _command(arguments)
        log = self.logs / f"{name}.log"
        with log.open("ab") as out:
            popen = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        child = Child(name, command, log, popen)
        self.children[name] = child
        return child

    def run(self, arguments: list[str]) -> bytes:
        """Return what `parkfleet ARGUMENTS` prints, once it has ended.

        Interrupted, it leaves nothing behind: `subprocess.run` would leave the killed process to
        whoever adopts it.

        Raises:
            ParkfleetError: it ended with another code than 0; the text says what it said last.
        """
        command = _command(["--log-level", "warning", *arguments])
        with subprocess.Popen(  # noqa: S603 - our own command line, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        ) as popen:
            try:
                printed, said = popen.communicate()
            except BaseException:
                popen.kill()
                popen.wait()
                raise
        if popen.returncode:
            what = " ".join(arguments[:2])
            raise ParkfleetError(f"{what} failed: {said.decode(errors='replace')[-400:]}")
        return printed

    def kill(self, name: str) -> None:
        """Kill the process with SIGKILL, as a power cut or the kernel's memory guard would."""
        child = self.children.pop(name)
        child.popen.kill()
        child.popen.wait()

    def stop(self, name: str, timeout_s: float = 15.0) -> int:
        """Ask the process to end (SIGTERM) and kill it where it does not; return its exit code."""
        child = self.children.pop(name)
        child.popen.send_signal(signal.SIGTERM)
        try:
            return child.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.popen.kill()
            return child.popen.wait()

    def stop_all(self) -> None:
        """End every process, the youngest first."""
        for child in reversed(self.children.values()):
            child.popen.send_signal(signal.SIGTERM)
        for name in reversed(list(self.children)):
            self.stop(name)

    def check(self) -> None:
        """Return quietly while all processes run.

        Raises:
            KeyboardInterrupt: an interrupt came since the start.
            ProcessDiedError: one has ended; it is forgotten, so that it may be started again.
        """
        if self.is_interrupted:
            raise KeyboardInterrupt
        for name, child in list(self.children.items()):
            code = child.popen.poll()
            if code is not None:
                del self.children[name]
                raise ProcessDiedError(child.end_in_words(code))

    def wait_for(
        self,
        what: str,
        ready: Callable[[], T | None],
        *,
        timeout_s: float,
        each_s: float = 0.25,
    ) -> T:
        """Return the first answer of `ready` that is neither None nor False.

        Time in which this process stood still, as a machine that slept may, counts as one look.

        Raises:
            KeyboardInterrupt: an interrupt came since the start.
            ProcessDiedError: a process ended meanwhile.
            WaitTimeoutError: nothing came within `timeout_s`; the text says what was awaited.
        """
        waited_us, last_us = 0, self.clock.monotonic_us()
        while True:
            answer = ready()
            if answer is not None and answer is not False:
                return answer
            self.check()
            now = self.clock.monotonic_us()
            waited_us += min(now - last_us, _LONGEST_LOOK_US)
            last_us = now
            if waited_us > timeout_s * 1e6:
                raise WaitTimeoutError(f"{what}: nothing within {timeout_s:.0f} s")
            self.clock.sleep_until_us(now + int(each_s * 1e6))


def _command(arguments: list[str]) -> list[str]:
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())]
    return [*launcher, "-m", "shared", *arguments]
