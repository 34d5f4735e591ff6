"""Ingest and listings over batch size, over stored rows, and beside one HTTP request a picture.

    python -m tests.benchmarks.bench_ingest_growth [--rows 10000 --rows 1000000] [--sizes ...]

The messages of `bench_ingest`, from forty cars through mosquitto to one ingest process a core:

- *size*: the same samples in batches of 1, 10 and 100: seconds a thousand samples;
- *rows*: batches of 100 into a database that holds so many samples already: the same; and there the
  slowest p99 of the main listings over REST, beside that of the emptiest answer of the same server;
- *pictures*: pairs with their pictures in batches, over the reference's way: each picture by an
  HTTP request of its own (`one_by_one`), to a server that only hashes and stores.

Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import msgspec

from hardware_sim.lab.fleet import free_port
from hardware_sim.lab.report import Check
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.samples import Picture
from shared.topics import BATCH
from tests.benchmarks import one_by_one
from tests.benchmarks.bench_codec import batch as manoeuvre
from tests.benchmarks.bench_ingest import Payload, Station, fill, listings, payloads, through_mqtt
from tests.benchmarks.outcome import at_least, at_most, tell
from tests.benchmarks.processes import ingest, mosquitto, process, server
from tests.benchmarks.scaling import Curve
from tests.fleet_server.fleet import Fleet, sample

LISTING_LIMIT_MS: Final = 50.0
ROWS_EXPONENT_LIMIT: Final = 0.05
PICTURES_LIMIT: Final = 2.0

_WARM_UP: Final = 60
_PAIRS: Final = 25
_CARS: Final = 4


def with_pictures(fleet: Fleet, batches: int) -> list[Payload]:
    """Return batches of 25 pairs with their pictures, of four cars in turns."""
    pictures = [each.jpeg for each in manoeuvre().pictures]
    made = []
    for number in range(batches):
        car, first = f"car-{number % _CARS + 1}", number // _CARS * _PAIRS
        samples = tuple(
            sample(first + place, device=car, picture_sha256=sha256_hex(jpeg))
            for place, jpeg in enumerate(pictures)
        )
        kept = tuple(
            Picture(
                device=car,
                boot=each.boot,
                sequence=each.sequence,
                sha256=each.picture_sha256 or "",
                jpeg=jpeg,
            )
            for each, jpeg in zip(samples, pictures, strict=True)
        )
        body = fleet.sealed(Batch(device=car, samples=samples, pictures=kept))
        made.append((BATCH.topic(id=car), body))
    return made


class Growth:
    """A station, and what is measured on it."""

    def __init__(self, folder: Path, port: int, rounds: int) -> None:
        """Measure each figure so often."""
        self.station = Station(folder, 0)
        self._folder, self._port, self._rounds = folder, port, rounds
        self._loads = 0

    def seconds(self, samples: int, size: int) -> float:
        """Return the seconds that a thousand samples take in batches of `size`."""
        rates = []
        for _ in range(self._rounds):
            self._loads += 1
            load = payloads(self.station.fleet, self._loads, samples // size, size=size)
            rates.append(through_mqtt(self._folder, self._port, load)[0] * size)
        return 1000.0 / median(rates)

    def pairs_a_second(self, batches: int) -> float:
        """Return how many pairs with pictures are receipted in a second."""
        load = with_pictures(self.station.fleet, batches)
        return through_mqtt(self._folder, self._port, load)[0] * _PAIRS


def pictures_a_second(folder: Path, count: int) -> float:
    """Return how many pictures are stored in a second, one request each."""
    pictures = [each.jpeg for each in manoeuvre().pictures]
    port = free_port()
    words = [sys.executable, "-m", "tests.benchmarks.one_by_one", str(port), str(folder / "one.db")]
    with process(words, port):
        one_by_one.send(port, pictures, _CARS)
        return one_by_one.send(port, [pictures[n % _PAIRS] for n in range(count)], _CARS)


def _listed(state: Path, port: int, token: str) -> dict[str, float]:
    with server(state, port) as rest_port:
        return listings(rest_port, token, more=("alerts?limit=1",))


def measure(
    folder: Path, sizes: list[int], rows: list[int], samples: int, rounds: int
) -> tuple[list[Check], dict[str, Any], list[Curve]]:
    """Return the checks, what else there is to tell, and the curves."""
    state = folder / "state"
    with ExitStack() as stack:
        port = stack.enter_context(mosquitto(folder))
        growth = Growth(folder, port, rounds)
        with ingest(state, port):
            growth.seconds(_WARM_UP * 100, 100)
            by_size = [(float(n), growth.seconds(samples * min(n, 10) // 10, n)) for n in sizes]
            pairs_s = growth.pairs_a_second(samples // 200)
        by_rows, listed = [], {}
        for count in rows:
            fill(growth.station.fleet, count)
            with ingest(state, port):
                by_rows.append((float(count), growth.seconds(samples, 100)))
            listed[count] = _listed(state, port, growth.station.token)
        growth.station.fleet.close()
    one_s = pictures_a_second(folder, samples // 20)
    slowest = [(float(n), max(each.values())) for n, each in listed.items()]
    emptiest = [(float(n), min(each.values())) for n, each in listed.items()]
    curves = [
        Curve(name="a thousand samples by batch size", x="samples a batch", y="seconds",
              points=tuple(by_size)),
        Curve(name="a thousand samples by rows stored", x="rows", y="seconds",
              points=tuple(by_rows)),
        Curve(name="slowest p99 of listings by rows stored", x="rows", y="ms",
              points=tuple(slowest), bound_name="the emptiest answer", bound=tuple(emptiest)),
    ]  # fmt: skip
    most = max(rows)
    checks = [
        at_most("ingest: exponent of seconds over stored rows", curves[1].fit.exponent,
                ROWS_EXPONENT_LIMIT, ""),
        at_most(f"slowest p99 of the main listings at {most} rows", slowest[-1][1],
                LISTING_LIMIT_MS, "ms"),
        at_least("pairs with pictures in batches, over one HTTP request a picture",
                 pairs_s / one_s, PICTURES_LIMIT),
    ]  # fmt: skip
    told = {"pairs_a_second": pairs_s, "pictures_one_by_one_a_second": one_s, "listings": listed}
    return checks, told, curves


@click.command()
@click.option(
    "--sizes",
    multiple=True,
    type=click.IntRange(1, 200),
    default=(1, 10, 100),
    show_default=True,
    help="Samples a batch; repeatable, at least two.",
)
@click.option(
    "--rows",
    multiple=True,
    type=click.IntRange(1, 100_000_000),
    default=(10_000, 100_000, 1_000_000),
    show_default=True,
    help="Samples stored before; repeatable, at least two.",
)
@click.option("--samples", default=30_000, show_default=True, help="Samples a measurement.")
@click.option(
    "--rounds", default=3, show_default=True, help="Measurements of which the median counts."
)
def main(sizes: tuple[int, ...], rows: tuple[int, ...], samples: int, rounds: int) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    (Path.cwd() / "var").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path.cwd() / "var") as name:
        checks, told, curves = measure(Path(name), sorted(sizes), sorted(rows), samples, rounds)
    tell(checks, {"figures": msgspec.to_builtins(told)}, curves)


if __name__ == "__main__":
    sys.exit(main())
