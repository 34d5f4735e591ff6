"""How much faster than real time a fleet of a thousand cars runs in one process.

    python -m tests.benchmarks.fleet

Each car drives one manoeuvre in ten minutes of virtual time and syncs it by the device's own rules
with a model server in memory, once over a network that loses nothing, once over one that loses 5 %
of all messages. Journals reach the disk, as on a car: a temporary folder in memory (TMPDIR) shows
what the rules alone cost. Prints one JSON object and exits with 1 where a figure misses its limit.
"""

import logging
import sys

import click
import msgspec

from hardware_sim.fleet_sim.fleets import Plan, Watch
from hardware_sim.fleet_sim.memory import in_memory
from hardware_sim.lab.report import Check
from shared.clock import SystemClock

CARS = 1000
QUICK_CARS = 100
LOSS = 0.05


def measure(cars: int) -> list[Check]:
    """Return the checks of two fleets of `cars` cars; a smaller one is held to the same pace."""
    checks: list[Check] = []
    for loss in (0.0, LOSS):
        plan = Plan(cars=cars, loss=loss)
        done = in_memory(plan, real=SystemClock(), model=None, watch=Watch()).outcome
        name = f"{cars} cars, {loss:.0%} of messages lost"
        checks += [
            Check(
                name=f"{name}: faster than real time",
                value=round(done.rate * cars / CARS, 1),
                unit="times, for 1,000 cars",
                limit=10.0,
                better="higher",
            ),
            Check(
                name=f"{name}: pairs lost, doubled or left",
                value=done.lost + done.doubled + done.waiting,
                unit="",
                limit=0,
                better="lower",
            ),
        ]
    return checks


def main(arguments: list[str]) -> int:
    """Measure and print; 1 where a figure misses its limit."""
    logging.getLogger("device").setLevel(logging.ERROR)
    checks = measure(QUICK_CARS if "--quick" in arguments else CARS)
    body = {"checks": [check.as_dict() for check in checks]}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    return 0 if all(check.met for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
