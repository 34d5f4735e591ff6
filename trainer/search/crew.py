"""The processes of a search, which try what waits in its study until they are told to stop.

Laws:
- as many run as were asked for, and one that died is started again: but not for ever;
- none outlives its crew, and one whose parent was killed ends by itself (see `trial`).
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from shared.errors import RefusedError

_MOST_CRASHES: Final = 4


class Crew:
    """`size` processes on the study in `folder`; use as a context manager."""

    def __init__(self, folder: Path, *, size: int) -> None:
        self._folder = folder
        self._size = size
        self._working: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self._crashes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._working:
            each.terminate()
        for each in self._working:
            each.wait()

    def keep_up(self) -> None:
        """Start what is missing.

        Raises:
            RefusedError: they die again and again.
        """
        self._crashes += sum(each.poll() not in (None, 0) for each in self._working)
        self._working = [each for each in self._working if each.poll() is None]
        if self._crashes > _MOST_CRASHES:
            raise RefusedError(
                f"{self._crashes} processes of the search died: look at {self._folder}"
            )
        while len(self._working) < self._size:
            self._started += 1
            self._working.append(self._start(self._started))

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        # Each process's sampler is told apart by its number, those of a search gone on with too.
        logs = len(list(self._folder.glob("worker-*.log")))
        with (self._folder / f"worker-{logs + 1}.log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter, module and folder
                [
                    sys.executable,
                    "-m",
                    "trainer.search.trial",
                    str(self._folder),
                    str(number),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
