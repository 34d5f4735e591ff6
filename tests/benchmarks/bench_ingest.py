"""Batches through MQTT into the database, against a bare loop over the same payload.

    python -m tests.benchmarks.bench_ingest [--rows 10000000] [--batches 300]

- *bare loop*: decode a batch, hash its samples, insert them under their key, commit; one process,
  one batch of 100 after the other, in WAL mode with synchronous=FULL;
- *through MQTT*: the same messages of forty cars, sent by a process of its own through mosquitto to
  the real server, one ingest process a core, and receipted: proven, validated, indexed, committed.
  As many are under way as forty cars have that catch up, each with its window of two.

Both take turns in the same run, on the same disk; the first figure is the median of the ratios of
their rates, the second that ratio in a large database over that in an empty one. The database is
filled up to `--rows` samples, as the same cars would have sent them; the third figure is the p99 of
the main listings over REST then. Needs a machine with nothing else to do: the bare loop is content
with one core. Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

import click
import msgspec
from sqlalchemy import Connection

from device.sync import Limits
from fleet_server import tokens
from fleet_server.storage import records, tables
from fleet_server.storage.upsert import insert_rows
from hardware_sim.lab.report import Check
from shared.ids import boot_id, sha256_hex
from shared.messages import Batch
from shared.samples import Characteristics, Estimate, Sample
from shared.signing import Envelope, SigningKey
from shared.topics import BATCH
from tests.benchmarks.loading import Sent
from tests.benchmarks.processes import ingest, mosquitto, server
from tests.fleet_server.fleet import DEPLOYMENT, MODEL, START_US, Fleet, end, sample

SHARE_LIMIT = 0.6
GROWN_LIMIT = 0.9
LISTING_LIMIT_MS = 50.0

_CARS = 40
SAMPLES = 100
_WINDOW = _CARS * Limits().window
_FILL = 20_000
_LISTINGS = (
    *("devices", "deployments", "samples", "batches", "manoeuvres", "quarantine", "decisions"),
    *("models", "training-jobs", "samples?device=car-1&limit=100", "batches?device=car-2"),
    *(f"samples?deployment={DEPLOYMENT}", f"manoeuvres?deployment={DEPLOYMENT}"),
)
_ASKED = 100
_LIVELY = Characteristics(
    brightness=121.5,
    saturation=43.25,
    hue=17.5,
    mean_red=130.1,
    mean_green=120.7,
    mean_blue=110.9,
    contrast=35.4,
    texture=812.6,
    keypoints=57,
)

_BARE_TABLE = """
CREATE TABLE samples (
    device TEXT, boot TEXT, sequence INTEGER, content_hash TEXT, body BLOB,
    UNIQUE (device, boot, sequence)
)
"""

Payload = tuple[str, bytes]


def _sample(car: str, boot: str, sequence: int) -> Sample:
    return sample(
        sequence,
        device=car,
        boot=boot,
        manoeuvre=sequence // 25,
        estimates=(Estimate(model=MODEL, value=211.25, sigma=4.5),),
        characteristics=_LIVELY,
        picture_sha256="ab" * 32,
    )


def _boot(number: int) -> str:
    return boot_id(number, b"load")


def payloads(fleet: Fleet, load: int, batches: int, *, size: int = SAMPLES) -> list[Payload]:
    """Return batches of `size` samples, car by car, signed; each `load` is a boot of its own."""
    found = []
    for number in range(batches):
        car = f"car-{number % _CARS + 1}"
        first = number // _CARS * size
        made = tuple(_sample(car, _boot(load), first + i) for i in range(size))
        found.append((BATCH.topic(id=car), fleet.sealed(Batch(device=car, samples=made))))
    return found


def bare(folder: Path, load: list[Payload]) -> float:
    """Return how many samples a second the bare loop stores."""
    path = folder / "bare.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    for line in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        _BARE_TABLE,
    ):
        connection.execute(line)
    envelopes, batches = msgspec.msgpack.Decoder(Envelope), msgspec.msgpack.Decoder(Batch)
    encode = msgspec.msgpack.Encoder(order="sorted").encode
    begun = time.perf_counter()
    for _, message in load:
        rows = []
        for each in batches.decode(envelopes.decode(message).payload).samples:
            body = encode(each)
            rows.append((each.device, each.boot, each.sequence, sha256_hex(body), body))
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - begun
    connection.close()
    for left in folder.glob("bare.sqlite*"):
        left.unlink()
    return len(load) * SAMPLES / seconds


def through_mqtt(folder: Path, port: int, load: list[Payload]) -> tuple[float, Sent]:
    """Return how many batches a second the server receipts, and how the load went."""
    path = folder / "payloads"
    path.write_bytes(msgspec.msgpack.encode(load))
    words = [sys.executable, "-m", "tests.benchmarks.loading", str(port), str(path), str(_WINDOW)]
    done = subprocess.run(words, check=True, capture_output=True)
    sent = msgspec.json.decode(done.stdout, type=Sent)
    if sent.outcomes != {"stored": len(load)}:
        raise RuntimeError(f"not every batch was stored: {sent.outcomes}")
    return len(load) / sent.seconds, sent


def fill(fleet: Fleet, rows: int) -> None:
    """Store samples up to `rows` of them, with their tallies, as the cars' earlier boots."""
    pattern = _sample("car-1", _boot(0), 0)
    row = records.sample_rows([pattern], START_US)[0]
    stored, boot = fleet.queries.totals().pairs_stored, 0
    while stored < rows:
        boot += 1
        with fleet.database.write() as connection:
            for number in range(_CARS):
                car, count = f"car-{number + 1}", min(_FILL // _CARS, rows - stored)
                made = [
                    (car, _boot(1000 + boot), sequence, row[3], sequence // 25, *row[5:], 1)
                    for sequence in range(count)
                ]
                insert_rows(connection, tables.samples, records.SAMPLE_COLUMNS, made)
                _fill_manoeuvres(connection, car, boot, count // 25)
                stored += count
    os.sync()  # What is measured is a large database, not one on its way to the disk.


def _fill_manoeuvres(connection: Connection, car: str, boot: int, count: int) -> None:
    ends = [end(n, pairs=25, device=car, boot=_boot(1000 + boot)) for n in range(count)]
    rows = records.numbered(records.end_rows(ends, START_US), 1)
    insert_rows(connection, tables.manoeuvres, records.END_COLUMNS, rows)


def listings(port: int, token: str, *, more: tuple[str, ...] = ()) -> dict[str, float]:
    """Return the p99 of each main listing, in milliseconds, at its beginning and far into it."""
    found = {}
    for path in (*_LISTINGS, *more):
        took = []
        for asked in range(_ASKED):
            cursor = _cursor(port, token, path) if asked == _ASKED // 2 else None
            took.append(_ask(port, token, path, cursor)[0])
        found[path] = round(quantiles(took, n=100, method="inclusive")[98], 2)
    return found


def _cursor(port: int, token: str, path: str) -> str | None:
    cursor: str | None = _ask(port, token, path, None)[1].get("next_cursor")
    return cursor


def _ask(port: int, token: str, path: str, cursor: str | None) -> tuple[float, dict[str, str]]:
    more = "" if cursor is None else ("&" if "?" in path else "?") + f"cursor={cursor}"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/{path}{more}", headers={"Authorization": f"Bearer {token}"}
    )
    begun = time.perf_counter()
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - as above
        body = answer.read()
    return (time.perf_counter() - begun) * 1000, json.loads(body)


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round of both sides came to."""

    bare_samples_s: int
    mqtt_samples_s: int


class Station:
    """A server with its cars beside a broker, and what is measured on it."""

    def __init__(self, folder: Path, batches: int) -> None:
        self.folder, self.batches, self.loads = folder, batches, 0
        (folder / "state").mkdir()
        self.fleet = Fleet(folder / "state")
        self.fleet.server_key = SigningKey(b"s" * 32)
        for number in range(_CARS):
            self.fleet.add_car(f"car-{number + 1}")
        quota = "quota_bytes = 1000000000\nquota_rows = 1000000000\n"
        (folder / "state" / "server.toml").write_text(quota)
        with self.fleet.database.write() as connection:
            made = tokens.create(connection, name="bench", role="viewer", utc_us=START_US)
        self.token = made.secret

    def load(self) -> list[Payload]:
        self.loads += 1
        return payloads(self.fleet, self.loads, self.batches)

    def rounds(self, broker_port: int, count: int) -> tuple[list[Round], list[float]]:
        """Return the rates of the bare loop and through MQTT in turns, and the waits in ms."""
        through_mqtt(self.folder, broker_port, self.load()[: self.batches // 4])  # warm
        found, waits = [], []
        for _ in range(count):
            load = self.load()
            alone = bare(self.folder, load)
            rate, sent = through_mqtt(self.folder, broker_port, load)
            found.append(Round(bare_samples_s=round(alone), mqtt_samples_s=round(rate * SAMPLES)))
            waits += sent.waited_ms
        return found, waits


def _share(rounds: list[Round]) -> float:
    """Return the rate through MQTT over the bare one just before it: the median of the rounds."""
    return median(each.mqtt_samples_s / each.bare_samples_s for each in rounds)


def measure(rows: int, batches: int, rounds: int) -> tuple[list[Check], dict[str, object]]:
    """Return the checks, and the figures behind them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd() / "var")))
        bench = Station(folder, batches)
        broker_port = stack.enter_context(mosquitto(folder))
        with ingest(folder / "state", broker_port):
            small, waits = bench.rounds(broker_port, rounds)
        fill(bench.fleet, rows)
        with ingest(folder / "state", broker_port):
            grown, _ = bench.rounds(broker_port, rounds)
        with server(folder / "state", broker_port) as port:
            p99_ms = listings(port, bench.token)
        bench.fleet.close()
    checks = [
        Check(
            name="ingest through MQTT, over a bare loop: decode, hash, insert, commit",
            value=round(_share(small), 3),
            unit="times",
            limit=SHARE_LIMIT,
            better="higher",
        ),
        Check(
            name=f"ingest at {rows} stored rows, over that of an empty database",
            value=round(_share(grown) / _share(small), 3),
            unit="times",
            limit=GROWN_LIMIT,
            better="higher",
        ),
        Check(
            name=f"slowest p99 of the main listings over REST at {rows} rows",
            value=max(p99_ms.values()),
            unit="ms",
            limit=LISTING_LIMIT_MS,
            better="lower",
        ),
    ]
    return checks, {
        "rounds": small,
        "rounds_grown": grown,
        "receipt_p50_p99_ms": [round(quantiles(waits, n=100)[at], 1) for at in (49, 98)],
        "listings_p99_ms": p99_ms,
    }


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Samples to grow up to.")
@click.option("--batches", default=600, show_default=True, help="Batches of 100 a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds that take turns.")
def main(rows: int, batches: int, rounds: int) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    (Path.cwd() / "var").mkdir(exist_ok=True)
    checks, figures = measure(rows, batches, rounds)
    body = {"checks": [check.as_dict() for check in checks], "figures": figures}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(check.met for check in checks) else 1)


if __name__ == "__main__":
    main()
