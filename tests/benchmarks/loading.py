"""Sends cars' batches to a broker as fast as they are receipted, and says how long that took.

    python -m tests.benchmarks.loading PORT PAYLOADS WINDOW [RATE]

`PAYLOADS` is a msgpack file of [topic, body] pairs. At most WINDOW of them are under way at once,
as cars hold back, and at most RATE a second are begun. Prints one JSON object: seconds from the
first message to the last receipt, and the milliseconds that each batch waited for its receipt.
"""

import math
import os
import sys
from pathlib import Path

import click
import msgspec

from shared.clock import SystemClock
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.messages import Receipt
from shared.mqtt import Address, Connection
from shared.mqtt_events import Connected, Received
from shared.signing import Envelope
from shared.topics import RECEIPT

_SILENCE_S = 60.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How a load went."""

    seconds: float
    waited_ms: list[float]
    outcomes: dict[str, int]


def send(port: int, payloads: list[tuple[str, bytes]], window: int, rate: float = math.inf) -> Sent:
    """Send `payloads` and wait for every receipt.

    Raises:
        RefusedError: no receipt came for a minute.
    """
    clock = SystemClock()
    connection = Connection(
        Address(host="127.0.0.1", port=port, user="load", password=""),
        client_id=f"load-{os.getpid()}",
    )
    connection.start()
    while not isinstance(connection.next_event(1.0), Connected):
        pass
    connection.subscribe(RECEIPT.filter())
    waiting = [(topic, body, sha256_hex(body)) for topic, body in reversed(payloads)]
    begun: dict[str, int] = {}
    waited_ms: list[float] = []
    outcomes: dict[str, int] = {}
    first_us = last_us = clock.monotonic_us()
    while waiting or begun:
        due_us = first_us + 1e6 * (len(payloads) - len(waiting)) / rate
        while waiting and len(begun) < window and clock.monotonic_us() >= due_us:
            topic, body, digest = waiting.pop()
            begun[digest] = clock.monotonic_us()
            connection.publish(topic, body)
            due_us = first_us + 1e6 * (len(payloads) - len(waiting)) / rate
        # With the window full only a receipt leads on: to look again and again would take the core
        # that the server is measured on.
        is_held_back = not waiting or len(begun) >= window
        pause_s = _SILENCE_S if is_held_back else (due_us - clock.monotonic_us()) / 1e6
        event = connection.next_event(min(max(pause_s, 0.0), _SILENCE_S))
        if event is None and clock.monotonic_us() - last_us > _SILENCE_S * 1e6:
            raise RefusedError(f"no receipt for {_SILENCE_S:g} s, {len(begun)} under way")
        if not isinstance(event, Received):
            continue
        connection.acknowledge(event)
        receipt = msgspec.msgpack.decode(
            msgspec.msgpack.decode(event.payload, type=Envelope).payload, type=Receipt
        )
        last_us = clock.monotonic_us()
        if receipt.batch in begun:
            waited_ms.append((last_us - begun.pop(receipt.batch)) / 1000)
            outcomes[receipt.outcome] = outcomes.get(receipt.outcome, 0) + 1
    connection.stop()
    return Sent(seconds=(last_us - first_us) / 1e6, waited_ms=waited_ms, outcomes=outcomes)


def main(arguments: list[str]) -> int:
    """Send and print."""
    port, path, window = int(arguments[0]), Path(arguments[1]), int(arguments[2])
    rate = float(arguments[3]) if len(arguments) > 3 else math.inf
    payloads = msgspec.msgpack.decode(path.read_bytes(), type=list[tuple[str, bytes]])
    click.echo(msgspec.json.encode(send(port, payloads, window, rate)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
