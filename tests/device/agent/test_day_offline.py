"""Hours offline at 4 Hz, on virtual time: then all of it arrives once, and memory stays flat."""

import gc
import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from device.journal import Journal
from device.journal.records import sample_row
from shared.ids import sha256_hex
from shared.messages import Batch, Receipt
from shared.mqtt_events import Connected, Disconnected
from shared.signing import SigningKey, open_envelope
from shared.topics import BATCH, RECEIPT
from tests.device.agent.world import DEVICE, SECOND, Car, published
from tests.device.records import manoeuvre_end, sample

# A whole day takes two minutes: PARKFLEET_TEST_HOURS=24 pytest <this file>
HOURS = int(os.environ.get("PARKFLEET_TEST_HOURS", "2"))
PAIRS_AN_HOUR = 4 * 3600
PAIRS_A_MANOEUVRE = 24
MANOEUVRES_AN_HOUR = PAIRS_AN_HOUR // PAIRS_A_MANOEUVRE
LOOK_US = 40 * SECOND


def log_hour(journal: Journal, hour: int) -> None:
    """Put an hour's pairs into the journal, without the proofs that `append` makes of each."""
    made = sample(characteristics=None, picture_sha256=None)
    row = sample_row(made, 2)
    columns = ", ".join(row)
    first = hour * PAIRS_AN_HOUR

    def rows() -> Iterator[tuple[object, ...]]:
        for number in range(first, first + PAIRS_AN_HOUR):
            manoeuvre = number // PAIRS_A_MANOEUVRE
            changed = msgspec.structs.replace(made, sequence=number, manoeuvre=manoeuvre)
            body = msgspec.msgpack.encode(changed)
            own = {"sequence": number, "manoeuvre": manoeuvre, "body": body}
            yield tuple((row | own).values())

    with journal.writing():
        journal.db.conn.executemany(
            f"INSERT INTO samples ({columns}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - own names
            rows(),
        )
        journal.count("pairs_logged", PAIRS_AN_HOUR)
    ends = range(hour * MANOEUVRES_AN_HOUR, (hour + 1) * MANOEUVRES_AN_HOUR)
    journal.append(samples=[], manoeuvres=[manoeuvre_end(n, pairs=PAIRS_A_MANOEUVRE) for n in ends])


class Server:
    """A server in memory: counts how often it got each row, in room that it took beforehand."""

    def __init__(self, car: Car) -> None:
        self._car = car
        self._key = SigningKey.load(car.home.signing_key).public
        self.pairs = bytearray(HOURS * PAIRS_AN_HOUR)
        self.ends = bytearray(HOURS * MANOEUVRES_AN_HOUR)

    def take(self, payload: bytes) -> Receipt:
        topic = BATCH.topic(id=DEVICE)
        batch = open_envelope(BATCH, payload, topic=topic, message_type=Batch, key=self._key)
        for each in batch.samples:
            self.pairs[each.sequence] += 1
        for end in batch.manoeuvres:
            self.ends[end.manoeuvre] += 1
        return Receipt(device=DEVICE, batch=sha256_hex(payload), outcome="stored")


def peak_bytes() -> int:
    """Return the most that Python held since the last call."""
    gc.collect()  # What only waits for the collector, whose moment depends on all else, is no news.
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    return peak


def resident_bytes() -> int:
    """Return how much of this process lies in memory, what SQLite took included."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def told(name: str, figures: list[int]) -> str:
    """Return a row of figures after the first, in words."""
    first, most, last = figures[1], max(figures[1:]), figures[-1]
    rise = (most / first - 1) * 100
    return f"{name}: first {first}, last {last}, most {most} bytes (+{rise:.2f} %)\n"


def stay_offline(car: Car) -> int:
    """Let an hour pass, in which a broker answers once a while and the server never."""
    sent = 0
    for look in range(3600 * SECOND // LOOK_US):
        if look % 30 == 0:
            car.agent.handle(Connected())
        if look % 30 == 15:
            car.agent.handle(Disconnected(reason="gone"))
        car.clock.now_us += LOOK_US
        sent += len(published(car.agent.tick(), BATCH))
    return sent


def drain(car: Car, server: Server, pairs: int) -> None:
    """Send on until the server has `pairs` in all."""
    while len(server.pairs) - server.pairs.count(0) < pairs:
        car.clock.now_us += SECOND // 10
        waiting = published(car.agent.tick(), BATCH)
        while waiting:
            car.clock.now_us += SECOND // 10
            receipt = server.take(waiting.pop(0).payload)
            waiting += published(car.hear(RECEIPT, receipt, id=DEVICE), BATCH)


@pytest.mark.slow
@pytest.mark.long
def test_hours_offline_arrive_whole_and_once_in_memory_that_stays_flat(car: Car) -> None:
    car.wish(None, upload="characteristics")
    server = Server(car)
    offline, draining, resident = [], [], []
    tracemalloc.start()
    try:
        for hour in range(HOURS):
            log_hour(car.journal, hour)
            peak_bytes()
            sent = stay_offline(car)
            offline.append(peak_bytes())
            resident.append(resident_bytes())
            assert sent < 3600 // 20, "a fleet that lost its server leaves it in peace"
        assert car.journal.counts().queue_depth == HOURS * PAIRS_AN_HOUR
        car.clock.now_us += 60 * SECOND
        car.agent.handle(Connected())
        for twelfth in range(1, 13):
            drain(car, server, twelfth * HOURS * PAIRS_AN_HOUR // 12)
            draining.append(peak_bytes())
            resident.append(resident_bytes())
    finally:
        tracemalloc.stop()
    assert set(server.pairs) == {1}
    assert set(server.ends) == {1}
    counts = car.journal.counts()
    assert (counts.pairs_sent, counts.queue_depth) == (HOURS * PAIRS_AN_HOUR, 0)
    # With -s: the figures of the run, beside its verdict.
    sys.stdout.write(f"{HOURS} h offline at 4 Hz: {HOURS * PAIRS_AN_HOUR} pairs arrived once\n")
    sys.stdout.write(told("Python's peak an hour, offline", offline))
    sys.stdout.write(told("Python's peak a twelfth, draining", draining))
    sys.stdout.write(told("resident", resident))
    for peaks in (offline, draining, resident):
        assert max(peaks[1:]) <= 1.1 * peaks[1], peaks
