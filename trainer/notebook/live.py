"""A run while it goes on: rounds and the machine's load into the notebook, now and then.

Laws:
- a round is written once, within seconds of its end;
- the machine's load is named as MLflow's own page of system metrics expects;
- writing costs less than a hundredth of the training: it is gathered for two seconds.
"""

import contextlib
from typing import Any, Final

import psutil
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from shared.clock import Clock
from trainer.learning.rounds import Round
from trainer.notebook.tracking import Notebook

_EVERY_US: Final = 2_000_000

# MLflow ships no types: its monitors are anything to mypy.
_KINDS: Final[tuple[Any, ...]] = (CPUMonitor, DiskMonitor, GPUMonitor)


class Live:
    """Feeds one run of a notebook."""

    def __init__(self, notebook: Notebook, run_id: str, clock: Clock) -> None:
        self._notebook = notebook
        self._run_id = run_id
        self._clock = clock
        self._rounds: list[Round] = []
        self._samples = 0
        self._next_us = 0

    def on_round(self, each: Round) -> None:
        """Take a round; write, where it is time."""
        self._rounds.append(each)
        if self._clock.monotonic_us() >= self._next_us or each.number == each.of:
            self.flush()

    def on_progress(self) -> None:
        """Hear that the run goes on, by other processes maybe; write, where it is time."""
        if self._clock.monotonic_us() >= self._next_us:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered, and the machine's load."""
        self._notebook.log_rounds(self._run_id, self._rounds)
        self._notebook.log_system(self._run_id, load(), step=self._samples)
        self._rounds.clear()
        self._samples += 1
        self._next_us = self._clock.monotonic_us() + _EVERY_US


def load() -> dict[str, float]:
    """Return the machine's load as MLflow names it, and this process's own memory."""
    told: dict[str, float] = {}
    for monitor in _monitors():
        monitor.collect_metrics()
        told |= monitor.aggregate_metrics()
    told["process_memory_megabytes"] = psutil.Process().memory_info().rss / 1e6
    return told


def _monitors() -> list[Any]:
    """Return MLflow's own monitors; that of graphics processors where there are some."""
    made = []
    for kind in _KINDS:
        # No graphics processor, or not its library: nothing to tell of.
        with contextlib.suppress(ImportError, RuntimeError):
            made.append(kind())
    return made
