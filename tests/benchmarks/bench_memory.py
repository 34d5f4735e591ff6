"""What the two processes of a car hold in memory, and whether that grows while it drives and syncs.

    python -m tests.benchmarks.bench_memory [--seconds 60]

A broker, a server and one simulated car run as processes, as an operator has them; the car parks by
its range sensor as fast as the machine computes, so that a minute is many manoeuvres, and its agent
sends all of it. Looked at, twice a second, is the resident memory of drive and agent:

- over that of a process which imports the same and does nothing (the *bare* one);
- how much it grows from the second quarter of the time to the last, and a thousand manoeuvres.

Drive holds the simulated world here: on a car it is the smaller for that. Prints one JSON object;
exits with 1 where a figure misses its limit.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import psutil

from hardware_sim.lab.fleet import Car, Fleet, Floor
from hardware_sim.lab.report import Check
from shared.clock import SystemClock
from tests.benchmarks.outcome import at_most, tell

GROWTH_LIMIT: Final = 1.1
OVER_BARE: Final = 2.0

_EACH_US: Final = 500_000
_DEPLOYMENT: Final = "bench"
_WARM_UP_PAIRS: Final = 50
_IMPORTS: Final = {
    "drive": "import hardware_sim.cli, hardware_sim.backend, device.drive.loop, device.journal",
    "agent": "import device.cli, device.agent.main, device.agent.releases",
}


def bare_mib(name: str) -> float:
    """Return the resident memory of a process that imports what `name` does, in MiB."""
    words = [sys.executable, "-c", f"{_IMPORTS[name]}; print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = _mib(process.pid)
        process.communicate(b"\n")
    return found


def _mib(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 2**20


def watch(fleet: Fleet, car: Car, seconds: float) -> dict[str, list[float]]:
    """Return the MiB of both processes, twice a second, while the car drives."""
    children = fleet.processes.children
    pids = {name: children[f"{car.name}-{name}"].popen.pid for name in _IMPORTS}
    car.tell(Floor(scene="beige", manoeuvres=100_000))
    fleet.processes.wait_for(
        "the first pairs on the server",
        lambda: _stored(fleet, car) >= _WARM_UP_PAIRS,
        timeout_s=120.0,
        each_s=0.5,
    )
    found: dict[str, list[float]] = {name: [] for name in pids}
    clock = SystemClock()
    end_us = clock.monotonic_us() + round(seconds * 1e6)
    while (now_us := clock.monotonic_us()) < end_us:
        for name, pid in pids.items():
            found[name].append(_mib(pid))
        clock.sleep_until_us(now_us + _EACH_US)
    return found


def _stored(fleet: Fleet, car: Car) -> int:
    return int(fleet.server.get(f"devices/{car.name}")["pairs_stored"])


def measure(seconds: float) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks, and what else there is to tell."""
    bare = {name: bare_mib(name) for name in _IMPORTS}
    # With a model the car would go on by camera; what is looked at is a car that logs and sends.
    settings = {"PARKFLEET_FIRST_TRAINING_PAIRS": "1000000000"}
    with (
        tempfile.TemporaryDirectory() as name,
        Fleet(Path(name), SystemClock(), settings=settings) as fleet,
    ):
        fleet.start_broker()
        fleet.start_server()
        fleet.server.post("deployments", {"name": _DEPLOYMENT, "reason": "a benchmark"})
        car = fleet.add_car("car-1", _DEPLOYMENT)
        fleet.start_agent(car)
        fleet.start_drive(car, speed=0.0, seed=1)
        held = watch(fleet, car, seconds)
        pairs = _stored(fleet, car)
    checks = []
    for name, values in held.items():
        quarter = len(values) // 4
        early, late = median(values[quarter : 2 * quarter]), median(values[-quarter:])
        checks += [
            at_most(f"memory of {name} over a bare process that imports the same",
                    late / bare[name], OVER_BARE),
            at_most(f"memory of {name}, late over early", late / early, GROWTH_LIMIT),
        ]  # fmt: skip
    return checks, {"bare_mib": bare, "mib": held, "pairs": pairs}


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long the car drives.")
def main(seconds: float) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    checks, told = measure(seconds)
    tell(checks, told)


if __name__ == "__main__":
    sys.exit(main())
