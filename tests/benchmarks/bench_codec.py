"""What a batch costs on its way over the wire, beside a copy of its bytes, JSON and CBOR.

    python -m tests.benchmarks.bench_codec

The same batch of one manoeuvre (25 pairs with their pictures) is made into bytes and back, in
turns: by the wire codec with its limits and checks, the same in a signed envelope, by the standard
library's JSON (pictures in base64) and by cbor2. `memcpy` copies the bytes once. Neither JSON nor
CBOR checks anything: the codec, which does, is to be faster than the one and may take half as long
again as the other. Prints one JSON object; exits with 1 where a figure misses its limit.
"""

import base64
import json
import sys
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import cbor2
import click
import msgspec
import numpy as np

from hardware_sim.lab.report import Check
from shared import codec
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.picture import encode_jpeg
from shared.samples import Picture
from shared.signing import SigningKey, open_envelope, seal
from shared.topics import BATCH
from tests.device.records import BOOT, manoeuvre_end, sample

LIMITS: Final = {"JSON": 1.0, "CBOR": 1.5}

_ROUNDS = 400
_WARM_UP = 20
_PAIRS: Final = 25
_TOPIC: Final = BATCH.topic(id="car-1")
_KEY: Final = SigningKey(b"k" * 32)

Way = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]


def batch() -> Batch:
    """Return a manoeuvre of a car: its pairs, its pictures as a camera makes them, its end."""
    rng = np.random.default_rng(1)
    frames = [
        (np.linspace(40, 200, 75 * 100).reshape(75, 100, 1) + rng.normal(0, 6, (75, 100, 3)))
        .clip(0, 255)
        .astype(np.uint8)
        for _ in range(_PAIRS)
    ]
    jpegs = [encode_jpeg(frame) for frame in frames]
    return Batch(
        device="car-1",
        samples=tuple(
            sample(number, picture_sha256=sha256_hex(jpeg)) for number, jpeg in enumerate(jpegs)
        ),
        manoeuvres=(manoeuvre_end(pairs=_PAIRS),),
        pictures=tuple(
            Picture(device="car-1", boot=BOOT, sequence=number, sha256=sha256_hex(jpeg), jpeg=jpeg)
            for number, jpeg in enumerate(jpegs)
        ),
    )


def ways() -> dict[str, Way]:
    """Return how each way turns a batch into bytes, and bytes into what it understands."""

    def opened(body: bytes) -> Batch:
        return open_envelope(BATCH, body, topic=_TOPIC, message_type=Batch, key=_KEY.public)

    return {
        "codec": (
            codec.encode,
            lambda body: codec.decode(Batch, body, limit_bytes=BATCH.limit_bytes),
        ),
        "codec, signed": (lambda made: seal(made, topic=_TOPIC, key=_KEY), opened),
        "JSON": (
            lambda made: json.dumps(_plain(made, base64.b64encode)).encode(),
            lambda body: [base64.b64decode(each["jpeg"]) for each in json.loads(body)["pictures"]],
        ),
        "CBOR": (lambda made: cbor2.dumps(_plain(made, bytes)), cbor2.loads),
    }


def _plain(made: Batch, data: Callable[[bytes], bytes]) -> Any:
    """Return `made` as dictionaries and lists, its pictures' bytes passed through `data`."""
    plain = msgspec.to_builtins(made, builtin_types=(bytes,))
    for each in plain["pictures"]:
        held = data(each["jpeg"])
        each["jpeg"] = held.decode("ascii") if data is base64.b64encode else held
    return plain


def measure(rounds: int = _ROUNDS) -> tuple[list[Check], dict[str, dict[str, float]]]:
    """Return the checks, and the medians of each way in microseconds with its size in bytes."""
    made, every = batch(), ways()
    bodies = {name: there(made) for name, (there, _) in every.items()}
    copied = bodies["codec"]
    took: dict[str, list[int]] = {f"{name} {side}": [] for name in every for side in "<>"}
    took["memcpy"] = []
    clock = SystemClock()
    for _ in range(_WARM_UP + rounds):
        for name, (there, back) in every.items():
            begun_us = clock.monotonic_us()
            there(made)
            between_us = clock.monotonic_us()
            back(bodies[name])
            took[f"{name} <"].append(clock.monotonic_us() - between_us)
            took[f"{name} >"].append(between_us - begun_us)
        begun_us = clock.monotonic_us()
        for _copy in range(100):
            bytearray(copied)
        took["memcpy"].append(clock.monotonic_us() - begun_us)
    middle = {name: float(median(times[_WARM_UP:])) for name, times in took.items()}
    told = {
        name: {
            "encode_us": middle[f"{name} >"],
            "decode_us": middle[f"{name} <"],
            "size_bytes": float(len(bodies[name])),
        }
        for name in every
    }
    told["memcpy"] = {"copy_us": middle["memcpy"] / 100, "size_bytes": float(len(copied))}
    return _checks(told), told


def _checks(told: dict[str, dict[str, float]]) -> list[Check]:
    def both(name: str) -> float:
        return told[name]["encode_us"] + told[name]["decode_us"]

    return [
        Check(
            name=f"wire codec there and back, over {other}",
            value=round(both("codec") / both(other), 3),
            unit="times",
            limit=limit,
            better="lower",
        )
        for other, limit in LIMITS.items()
    ]


@click.command()
@click.option("--rounds", default=_ROUNDS, show_default=True, help="How often each way is timed.")
def main(rounds: int) -> None:
    """Measure and print; exit with 1 where a figure misses its limit."""
    checks, told = measure(rounds)
    body = {"checks": [each.as_dict() for each in checks], "ways": told}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    sys.exit(0 if all(each.met for each in checks) else 1)


if __name__ == "__main__":
    main()
