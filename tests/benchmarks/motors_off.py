"""How long motors stay driven when what drives them dies, the world running in another process.

    python -m tests.benchmarks.motors_off [--times 20]

Each time a supervised drive parks a car, and is struck at another moment of its turn:

- *kill*: SIGKILL of the driving process;
- *hang*: SIGSTOP of it: it lives, and holds its pins;
- *supervisor*: SIGKILL of its supervisor alone.

The world measures, from the moment of the strike to its first step (2 ms) without current. The
figure is the longest time. Prints one JSON object with every time; exits with 1 where one is above
200 ms, or a car touched the wall.
"""

import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

import click
import msgspec

from hardware_sim.lab.report import Check
from tests.e2e.apart import WATCHED_US, Apart, Strike, hang, kill, kill_supervisor

LIMIT_MS: Final = 200.0
_STRIKES: Final[dict[str, Strike]] = {
    "kill": kill,
    "hang": hang,
    "supervisor": kill_supervisor,
}
_TURN_US: Final = 33_333


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of strike led to, time by time; no time is longer than was watched."""

    strike: str
    off_ms: tuple[float, ...]
    contacts: int


def measure(strike: str, times: int, folder: Path) -> Measured:
    """Return what that many strikes of one kind led to, in one world."""
    rng = random.Random(strike)
    off_ms = []
    with Apart(folder) as apart:
        for _ in range(times):
            with apart.driving() as drive:
                apart.roll()
                apart.wait_us(rng.randrange(3 * _TURN_US))
                struck_us = apart.clock.monotonic_us()
                _STRIKES[strike](drive)
                off_us = apart.off_after_us(struck_us)
            off_ms.append((WATCHED_US if off_us is None else off_us) / 1000.0)
        contacts = apart.hand.look().contacts
    return Measured(strike=strike, off_ms=tuple(off_ms), contacts=contacts)


@click.command(epilog="Example: python -m tests.benchmarks.motors_off --times 5")
@click.option(
    "--times", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Strikes a kind."
)
def main(times: int) -> None:
    """Measure how long motors stay driven, and print it."""
    with tempfile.TemporaryDirectory() as root:
        found = []
        for strike in _STRIKES:
            folder = Path(root, strike)
            folder.mkdir()
            found.append(measure(strike, times, folder))
    checks = [
        Check(
            name=f"motors off after {each.strike}, the longest of {times}",
            value=max(each.off_ms),
            unit="ms",
            limit=LIMIT_MS,
            better="lower",
        )
        for each in found
    ]
    checks.append(
        Check(
            name="touches of the wall",
            value=sum(each.contacts for each in found),
            unit="",
            limit=0,
            better="lower",
        )
    )
    medians = {each.strike: median(each.off_ms) for each in found}
    body = {"checks": [check.as_dict() for check in checks], "median_ms": medians, "times": found}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(check.met for check in checks) else 1)


if __name__ == "__main__":
    main()
