"""Cars that send without a pause: the device's own rules of sync over a queue in memory.

Laws:
- a row leaves the queue on the server's signed word "stored" or "duplicate" alone (`device.sync`);
  what was not receipted is sent again, in other company too;
- what is sent is noted before it is sent, and a receipt before the car forgets what it names;
- some messages are sent twice on purpose: at once, or long after their receipt;
- whatever is random comes from the seed; what a car drives does not depend on any answer.
"""

import random
from collections import deque
from collections.abc import Iterator
from itertools import count, islice
from typing import Final

from device.sync import Limits, Send, SyncSession
from device.sync_rows import Mark, Page, Row, RowKey, key_of
from shared.clock import Clock
from shared.ids import boot_id, sha256_hex
from shared.messages import Batch, Receipt
from shared.mqtt import Connection
from shared.mqtt_events import Connected, Disconnected, Received
from shared.samples import Estimate, ManoeuvreEnd, Picture, Sample
from shared.signing import SigningKey, VerifyKey, open_envelope, seal
from shared.topics import BATCH, RECEIPT
from tests.chaos.promises import Promises
from tests.fleet_server.fleet import MODEL, end, picture, sample

_LIMITS: Final = Limits(
    window=8,
    batch_rows=24,
    answer_us=700_000,
    poll_us=20_000,
    backoff_base_us=20_000,
    backoff_cap_us=100_000,
)
"""Less patience than a car's, since the server is soon back, and more messages under way."""

_AHEAD: Final = 240
"""So many rows wait at least, which is more than can be under way at once."""

_PAIRS: Final = 10
_BARE: Final = 0.3
_BLIND: Final = 0.1
_TWICE: Final = 0.15
_LATER: Final = 0.15
"""Shares: of pairs without picture, without label; of messages repeated at once, of receipts upon
which an older message is repeated."""

_REMEMBERED: Final = 300
_MODELS: Final = (MODEL, "cd" * 32)


class Car:
    """One car on a connection of its own; call `turn` often."""

    def __init__(
        self,
        name: str,
        *,
        key: SigningKey,
        server_key: VerifyKey,
        connection: Connection,
        promises: Promises,
        clock: Clock,
        seed: int,
    ) -> None:
        """Take the parts, and connect."""
        self._rng = random.Random(seed)
        self._name, self._key, self._server_key = name, key, server_key
        self._topic = BATCH.topic(id=name)
        self._connection, self._promises, self._clock = connection, promises, clock
        self._session = SyncSession(device=name, seal=self._sealed, rng=self._rng, limits=_LIMITS)
        self._session.allow("pictures")
        self._road = manoeuvres(name, self._rng)
        self._queue: dict[RowKey, Row] = {}
        self._past: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._is_driving = False
        self.receipts = 0
        connection.start()

    @property
    def under_way(self) -> int:
        """How many messages wait for their receipt."""
        return self._session.in_flight

    @property
    def is_done(self) -> bool:
        """Whether the car rests and everything of it is receipted."""
        return not self._is_driving and not self._queue

    def drive(self) -> None:
        """Drive one manoeuvre after the other, as fast as they are receipted."""
        self._is_driving = True

    def rest(self) -> None:
        """Drive no more; what waits is sent."""
        self._is_driving = False

    def try_again(self) -> None:
        """Take back what is under way, as after a lost connection, and send it anew."""
        if self._connection.connected:
            self._session.disconnect()
            self._session.connect(self._clock.monotonic_us())

    def turn(self) -> None:
        """Take what has come, and send what is due."""
        while (event := self._connection.next_event(0.0)) is not None:
            if isinstance(event, Connected):
                self._connection.subscribe(RECEIPT.filter(id=self._name))
                self._session.connect(self._clock.monotonic_us())
            elif isinstance(event, Disconnected):
                self._session.disconnect()
            else:
                self._take(event)
        if self._session.wants_rows(self._clock.monotonic_us()):
            self._fill()

    def stop(self) -> None:
        """Disconnect."""
        self._connection.stop()

    def _sealed(self, batch: Batch) -> bytes:
        body = seal(batch, topic=self._topic, key=self._key)
        self._promises.send(sha256_hex(body), batch)
        return body

    def _take(self, event: Received) -> None:
        """Note a receipt; whatever else comes here is a fault that ends the experiment."""
        receipt = open_envelope(
            RECEIPT, event.payload, topic=event.topic, message_type=Receipt, key=self._server_key
        )
        self.receipts += 1
        self._promises.hear(receipt)
        for mark in self._session.receive(receipt, self._clock.monotonic_us()):
            self._forget(mark)
        self._connection.acknowledge(event)
        if self._past and self._rng.random() < _LATER:
            self._connection.publish(self._topic, self._rng.choice(self._past))

    def _forget(self, mark: Mark) -> None:
        gone: list[RowKey] = [("sample", each.boot, each.sequence) for each in mark.samples]
        gone += [("picture", each.boot, each.sequence) for each in mark.pictures]
        gone += [("manoeuvre", *each) for each in mark.manoeuvres]
        for key in gone:
            self._queue.pop(key, None)

    def _fill(self) -> None:
        while self._is_driving and len(self._queue) < _AHEAD:
            self._queue |= {key_of(row): row for row in next(self._road)}
        for action in self._session.fill(self._page(), self._clock.monotonic_us()):
            if isinstance(action, Send):
                self._publish(action.payload)

    def _page(self) -> Page:
        rows = list(islice(self._queue.values(), _AHEAD))
        return Page(
            samples=[row for row in rows if isinstance(row, Sample)],
            manoeuvres=[row for row in rows if isinstance(row, ManoeuvreEnd)],
            pictures=[row for row in rows if isinstance(row, Picture)],
        )

    def _publish(self, body: bytes) -> None:
        for _ in range(1 + (self._rng.random() < _TWICE)):
            self._connection.publish(self._topic, body)
        self._past.append(body)


def manoeuvres(car: str, rng: random.Random) -> Iterator[list[Row]]:
    """Yield the rows of one manoeuvre after the other: pairs with and without picture or label."""
    boot = boot_id(1, rng.randbytes(4))
    numbers = count()
    for manoeuvre in count():
        pairs = [
            _sample(car, boot, manoeuvre, number, rng)
            for number in islice(numbers, rng.randint(1, _PAIRS))
        ]
        pictures = [
            picture(each.sequence, device=car, boot=boot) for each in pairs if rng.random() >= _BARE
        ]
        yield [*pairs, *pictures, end(manoeuvre, pairs=len(pairs), device=car, boot=boot)]


def _sample(car: str, boot: str, manoeuvre: int, sequence: int, rng: random.Random) -> Sample:
    label = None if rng.random() < _BLIND else rng.uniform(0.0, 350.0)
    return sample(
        sequence,
        device=car,
        boot=boot,
        manoeuvre=manoeuvre,
        label=label,
        sensor_status="no_reading" if label is None else "ok",
        estimates=tuple(
            Estimate(model=model, value=rng.uniform(0.0, 350.0))
            for model in _MODELS[: rng.randint(0, 2)]
        ),
    )
