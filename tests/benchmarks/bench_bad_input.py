"""How long bad input holds ingest up, and what a flood by one car does to the others.

    python -m tests.benchmarks.bench_bad_input [--seconds 10]

- *refusals*: every kind of bad batch through the same call as a good one: its longest time, and how
  much memory grows over thousands of them;
- *flood*: five cars send a batch twice a second through mosquitto to the real server; then they do
  so again while a sixth sends a hundred times its quota. The figure is the ratio of the p99 of what
  the five wait for their receipts.

Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

import click
import msgspec
import numpy as np

from hardware_sim.lab.report import Check
from shared import codec
from shared.ids import boot_id, sha256_hex
from shared.messages import Batch
from shared.picture import encode_jpeg
from shared.samples import Estimate
from shared.signing import Envelope, SigningKey, seal
from shared.topics import BATCH
from tests.benchmarks.loading import Sent
from tests.benchmarks.processes import mosquitto, server
from tests.fleet_server.fleet import MODEL, Fleet, drive, jpeg, picture, sample

REFUSAL_LIMIT_MS = 50.0
FLOOD_LIMIT = 2.0
MEMORY_LIMIT_MIB = 32.0

_TIMES = 200
_CARS = 5
_QUOTA_BYTES = 2 * 1024 * 1024
_TOPIC = BATCH.topic(id="car-1")

Bad = Callable[[int], bytes]


def _signed(fleet: Fleet, payload: bytes, topic: str = _TOPIC) -> bytes:
    key = fleet.keys["car-1"]
    signature = key.sign(b"parkfleet-envelope-v1\n" + topic.encode() + b"\n" + payload)
    return msgspec.msgpack.encode(
        Envelope(key_id=key.public.key_id, signature=signature, payload=payload)
    )


def _bad(fleet: Fleet) -> Iterator[tuple[str, Bad]]:
    """Yield every kind of bad message, as a function that makes the n-th of it."""

    def batch(n: int, **changes: object) -> bytes:
        many = tuple(sample(1000 * n + i) for i in range(99))
        last = msgspec.structs.replace(sample(1000 * n + 99), **changes)
        return fleet.sealed(Batch(device="car-1", samples=(*many, last)))

    def replaced(n: int, there: bytes, put: bytes) -> bytes:
        payload = codec.encode(Batch(device="car-1", samples=(sample(n, label=300.0),) * 90))
        return _signed(fleet, payload.replace(there, put))

    def with_picture(n: int, body: bytes) -> bytes:
        made = msgspec.structs.replace(picture(n), jpeg=body, sha256=sha256_hex(body))
        return fleet.sealed(Batch(device="car-1", pictures=(made,)))

    def lying(n: int) -> bytes:
        body = bytearray(jpeg(n))
        at = body.index(b"\xff\xc0")
        body[at + 5 : at + 9] = b"\xff\xff\xff\xff"
        return with_picture(n, bytes(body))

    label = b"\xa5label\xcb"
    nan, infinite = b"\x7f\xf8" + bytes(6), b"\x7f\xf0" + bytes(6)
    pattern = codec.encode(Batch(device="car-1", samples=(sample(0),)))
    at = pattern.index(label) + len(label)
    value = label + pattern[at : at + 8]
    wild = (Estimate(model=MODEL, value=1e300),)
    stranger = SigningKey(b"x" * 32)
    yield "NaN label", lambda n: replaced(n, value, label + nan)
    yield "infinite label", lambda n: replaced(n, value, label + infinite)
    yield "absurd label", lambda n: batch(n, label=1e9)
    yield "negative label", lambda n: batch(n, label=-1e9)
    yield "absurd estimate", lambda n: batch(n, estimates=wild)
    yield "picture that lies about its size", lying
    yield "truncated picture", lambda n: with_picture(n, jpeg(n)[:40])
    yield "giant picture", lambda n: with_picture(n, encode_jpeg_of(n))
    yield "unknown field (other schema)", lambda n: replaced(n, b"\xa5label", b"\xa5lobel")
    yield "nesting bomb", lambda n: _signed(fleet, b"\x81\xa7samples" + b"\x91" * (100_000 + n))
    yield "length bomb", lambda n: _signed(fleet, b"\xdd\xff\xff\xff\xff" + n.to_bytes(4, "big"))
    yield "path in an id", lambda n: replaced(n, b"wall-distance", b"../../../../e")
    yield "too long", lambda n: n.to_bytes(4, "big") * (BATCH.limit_bytes // 2)
    yield "rubbish", lambda n: n.to_bytes(4, "big") * 30_000
    yield "truncated", lambda n: batch(n)[:-100]
    yield "a stranger's key", lambda n: _sealed_by(stranger, n)
    yield "another car's records", lambda n: batch(n, device="car-2")


def encode_jpeg_of(shade: int) -> bytes:
    """Return a picture of one grey that is larger than any may be."""
    return encode_jpeg(np.full((2100, 2100, 3), shade % 256, dtype=np.uint8))


def _sealed_by(key: SigningKey, n: int) -> bytes:
    return seal(drive(n), topic=_TOPIC, key=key)


def refusals(folder: Path) -> tuple[list[Check], dict[str, float]]:
    """Return the checks, and each kind's longest time in milliseconds."""
    fleet = Fleet(folder)
    fleet.add_car()
    took_ms: dict[str, float] = {}
    grown_bytes = 0
    for name, bad in _bad(fleet):
        messages = [bad(n) for n in range(_TIMES)]
        before = _resident_bytes()
        times = []
        for body in messages:
            begun = time.perf_counter()
            reply = fleet.ingest.take(_TOPIC, body)
            times.append((time.perf_counter() - begun) * 1000)
            if reply is not None and reply.receipt.outcome != "rejected":
                raise RuntimeError(f"{name}: {reply.receipt.outcome}")
        took_ms[name] = round(max(times), 2)
        grown_bytes += max(0, _resident_bytes() - before)
    stored = fleet.send(drive(999))
    if stored is None or stored.receipt.outcome != "stored":
        raise RuntimeError("the next good batch was not stored")
    fleet.close()
    return [
        Check(
            name=f"longest refusal of {_TIMES} of each of {len(took_ms)} kinds of bad input",
            value=max(took_ms.values()),
            unit="ms",
            limit=REFUSAL_LIMIT_MS,
            better="lower",
        ),
        Check(
            name=f"memory grown over {_TIMES * len(took_ms)} refusals",
            value=round(grown_bytes / 2**20, 1),
            unit="MiB",
            limit=MEMORY_LIMIT_MIB,
            better="lower",
        ),
    ], took_ms


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _load(fleet: Fleet, folder: Path, name: str, cars: list[str], count: int) -> Path:
    messages = []
    for number in range(count):
        car = cars[number % len(cars)]
        boot = boot_id(len(name) * 1000 + int(name[-1]), b"load")
        first = number // len(cars) * 20
        made = tuple(sample(first + i, device=car, boot=boot) for i in range(20))
        messages.append((BATCH.topic(id=car), fleet.sealed(Batch(device=car, samples=made))))
    path = folder / name
    path.write_bytes(msgspec.msgpack.encode(messages))
    return path


def _run(port: int, path: Path, *options: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "tests.benchmarks.loading", str(port), str(path), *options]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def flood(folder: Path, seconds: float) -> tuple[Check, dict[str, object]]:
    """Return the check, and the p99 waits and the flood's size behind it."""
    (folder / "state").mkdir()
    fleet = Fleet(folder / "state")
    cars = [f"car-{number + 1}" for number in range(_CARS)]
    for car in (*cars, "flood-1"):
        fleet.add_car(car)
    (folder / "state" / "server.toml").write_text(f"quota_bytes = {_QUOTA_BYTES}\n")
    per_second = 2 * _CARS
    count = round(seconds * per_second)
    message_bytes = len(fleet.sealed(drive(0)))
    flood_rate = 100 * _QUOTA_BYTES / 60 / message_bytes
    with ExitStack() as stack:
        broker_port = stack.enter_context(mosquitto(folder))
        stack.enter_context(server(folder / "state", broker_port))
        waits = []
        for round_number in range(3):  # the first is thrown away: everything is cold
            path = _load(fleet, folder, f"polite{round_number}", cars, count)
            others = []
            if round_number == 2:
                flooding = _load(
                    fleet, folder, "flood9", ["flood-1"], round((seconds + 2) * flood_rate)
                )
                others = [_run(broker_port, flooding, "1000000", str(flood_rate))]
                time.sleep(1.0)
            polite = _run(broker_port, path, str(count), str(per_second))
            sent = msgspec.json.decode(polite.communicate()[0], type=Sent)
            if sum(sent.outcomes.values()) != count:
                raise RuntimeError(f"not every batch was receipted: {sent.outcomes}")
            for other in others:
                other.terminate()
                other.communicate()
            waits.append(quantiles(sent.waited_ms, n=100)[98])
    fleet.close()
    return Check(
        name="p99 receipt of five cars while a sixth sends 100 times its quota, over without it",
        value=round(waits[2] / waits[1], 2),
        unit="times",
        limit=FLOOD_LIMIT,
        better="lower",
    ), {"p99_ms": [round(each, 1) for each in waits[1:]], "flood_messages_s": round(flood_rate)}


@click.command()
@click.option("--seconds", default=10.0, show_default=True, help="How long each load runs.")
def main(seconds: float) -> None:
    """Measure and print; exit with 1 where a limit is not met."""
    logging.getLogger("fleet_server").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        checks, took_ms = refusals(Path(name))
    with tempfile.TemporaryDirectory() as name:
        check, figures = flood(Path(name), seconds)
    checks.append(check)
    body = {
        "checks": [each.as_dict() for each in checks],
        "figures": {"refusals_ms": took_ms, "flood": figures},
    }
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(each.met for each in checks) else 1)


if __name__ == "__main__":
    main()
