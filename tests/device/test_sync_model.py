"""Against a model server and a channel that loses, duplicates, reorders and delays."""

import random
from collections import Counter

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device.sync import Limits, Send, SyncSession
from device.sync_rows import Mark, Page, Row
from shared.ids import sha256_hex
from shared.messages import Batch, Receipt, UploadLevel
from shared.samples import ManoeuvreEnd, Picture, Sample
from tests.device.records import BOOT, manoeuvre_end, sample

pytestmark = pytest.mark.slow

Key = tuple[str, int]

LIMITS = Limits(batch_bytes=4_000, batch_rows=5, page_rows=16)


class Car:
    """The journal's queue, in memory."""

    def __init__(self) -> None:
        self.waiting: dict[Key, Row] = {}
        self.sent: set[Key] = set()
        self.rejected: set[Key] = set()

    def log(self, row: Row) -> None:
        self.waiting[_key(row)] = row

    def page(self, limits: tuple[int, int]) -> Page:
        rows = [self.waiting[key] for key in sorted(self.waiting, key=lambda key: key[1])]
        return Page(
            samples=[r for r in rows if isinstance(r, Sample)][: limits[0]],
            manoeuvres=[r for r in rows if isinstance(r, ManoeuvreEnd)][: limits[0]],
            pictures=[r for r in rows if isinstance(r, Picture)][: limits[1]],
        )

    def mark(self, mark: Mark) -> None:
        keys = [("sample", key.sequence) for key in mark.samples]
        keys += [("manoeuvre", number) for _, number in mark.manoeuvres]
        keys += [("picture", key.sequence) for key in mark.pictures]
        assert keys, "a mark names rows"
        for key in keys:
            self.waiting.pop(key, None)
            if mark.outcome == "sent":
                self.sent.add(key)
            elif key not in self.sent:
                self.rejected.add(key)


class Server:
    """Stores each row once; refuses a whole batch for one bad row, as a real one must."""

    def __init__(self, bad: set[Key]) -> None:
        self.bad = bad
        self.stored: Counter[Key] = Counter()
        self.batches: set[str] = set()

    def take(self, payload: bytes) -> Receipt:
        digest = sha256_hex(payload)
        batch = msgspec.msgpack.decode(payload, type=Batch)
        rows: list[Row] = [*batch.samples, *batch.manoeuvres, *batch.pictures]
        keys = [_key(row) for row in rows]
        if self.bad.intersection(keys):
            return Receipt(device="car-1", batch=digest, outcome="rejected", reason="bad row")
        known = digest in self.batches
        self.batches.add(digest)
        self.stored.update(key for key in keys if key not in self.stored)
        return Receipt(
            device="car-1", batch=digest, outcome="duplicate" if known else "stored", new_samples=0
        )


def _key(row: Row) -> Key:
    if isinstance(row, ManoeuvreEnd):
        return ("manoeuvre", row.manoeuvre)
    return ("picture" if isinstance(row, Picture) else "sample", row.sequence)


class SyncMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32), bad=st.sets(st.integers(0, 60), max_size=4))
    def start(self, seed: int, bad: set[int]) -> None:
        kinds = random.Random(seed)
        self.bad = {(kinds.choice(["sample", "picture", "manoeuvre"]), n) for n in bad}
        self.car, self.server = Car(), Server(self.bad)
        self.session = self.fresh_session(seed)
        self.up: list[bytes] = []
        self.down: list[Receipt] = []
        self.now_us = 0
        self.logged = 0
        self.connected = False
        self.level: UploadLevel = "none"

    def fresh_session(self, seed: int) -> SyncSession:
        return SyncSession(
            device="car-1", seal=msgspec.msgpack.encode, rng=random.Random(seed), limits=LIMITS
        )

    def step(self) -> None:
        if self.session.wants_rows(self.now_us):
            page = self.car.page(self.session.page_limits)
            for action in self.session.fill(page, self.now_us):
                if isinstance(action, Send):
                    self.check_consent(action.payload)
                    self.up.append(action.payload)
                else:
                    self.car.mark(action)

    def check_consent(self, payload: bytes) -> None:
        batch = msgspec.msgpack.decode(payload, type=Batch)
        assert self.level != "none"
        assert self.level == "pictures" or not batch.pictures
        assert self.connected

    @rule(pairs=st.integers(1, 8), jpeg_bytes=st.integers(1, 3_000))
    def log(self, pairs: int, jpeg_bytes: int) -> None:
        for _ in range(pairs):
            jpeg = bytes(jpeg_bytes)
            digest = sha256_hex(jpeg)
            self.car.log(sample(self.logged, picture_sha256=digest))
            self.car.log(
                Picture(device="car-1", boot=BOOT, sequence=self.logged, sha256=digest, jpeg=jpeg)
            )
            self.logged += 1
        self.car.log(manoeuvre_end(self.logged))

    @rule(level=st.sampled_from(["none", "characteristics", "pictures"]))
    def consent(self, level: UploadLevel) -> None:
        self.level = level
        self.session.allow(level)

    @rule()
    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.session.connect(self.now_us)

    @rule()
    def disconnect(self) -> None:
        self.connected = False
        self.session.disconnect()

    @rule(seed=st.integers(0, 2**32))
    def kill(self, seed: int) -> None:
        self.connected = False
        self.session = self.fresh_session(seed)
        self.session.allow(self.level)

    @rule(seconds=st.sampled_from([0, 1, 5, 30, 100]))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * 1_000_000
        self.step()

    @precondition(lambda self: self.up)
    @rule(data=st.data(), fate=st.sampled_from(["deliver", "deliver", "duplicate", "lose"]))
    def server_hears(self, data: st.DataObject, fate: str) -> None:
        at = data.draw(st.integers(0, len(self.up) - 1))
        payload = self.up[at] if fate == "duplicate" else self.up.pop(at)
        if fate != "lose":
            self.down.append(self.server.take(payload))

    @precondition(lambda self: self.down)
    @rule(data=st.data(), fate=st.sampled_from(["deliver", "deliver", "duplicate", "lose"]))
    def car_hears(self, data: st.DataObject, fate: str) -> None:
        at = data.draw(st.integers(0, len(self.down) - 1))
        receipt = self.down[at] if fate == "duplicate" else self.down.pop(at)
        if fate != "lose":
            self.hear(receipt)

    def hear(self, receipt: Receipt) -> None:
        for mark in self.session.receive(receipt, self.now_us):
            self.car.mark(mark)

    @invariant()
    def nothing_is_marked_sent_that_is_not_stored(self) -> None:
        if hasattr(self, "car"):
            assert self.car.sent <= set(self.server.stored)

    @invariant()
    def only_bad_rows_are_put_aside(self) -> None:
        if hasattr(self, "car"):
            assert self.car.rejected <= self.bad

    def teardown(self) -> None:
        if not hasattr(self, "car"):
            return
        self.consent("pictures")
        self.connect()
        for _ in range(2_000):
            self.now_us += 1_000_000
            self.step()
            while self.up:
                self.hear(self.server.take(self.up.pop(0)))
            while self.down:
                self.hear(self.down.pop(0))
            if self.session.is_settled and not self.car.waiting:
                break
        logged = {("sample", n) for n in range(self.logged)}
        logged |= {("picture", n) for n in range(self.logged)}
        assert not self.car.waiting
        assert self.session.in_flight == 0
        assert logged <= self.car.sent | self.car.rejected
        assert self.car.sent == set(self.server.stored)
        assert self.car.rejected.isdisjoint(self.server.stored)
        assert set(self.server.stored.values()) <= {1}


TestSync = SyncMachine.TestCase
TestSync.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class TestUnderLoss:
    """The same world, at the hands of chance, over many rows."""

    def test_every_row_ends_stored_once_over_a_channel_that_loses_a_third(self) -> None:
        rng = random.Random(7)
        car, server = Car(), Server(bad={("sample", 31), ("manoeuvre", 3), ("picture", 40)})
        session = SyncSession(device="car-1", seal=msgspec.msgpack.encode, rng=rng, limits=LIMITS)
        for n in range(60):
            car.log(sample(n))
            car.log(Picture(device="car-1", boot=BOOT, sequence=n, sha256="0" * 64, jpeg=b"j"))
            car.log(manoeuvre_end(n % 5))
        session.allow("pictures")
        session.connect(0)
        down: list[Receipt] = []
        for second in range(20_000):
            now_us = second * 1_000_000
            if session.wants_rows(now_us):
                for action in session.fill(car.page(session.page_limits), now_us):
                    assert isinstance(action, Send)
                    copies = rng.choice([0, 1, 1, 2])
                    down += [server.take(action.payload) for _ in range(copies)]
            rng.shuffle(down)
            while down and rng.random() < 0.7:
                receipt = down.pop()
                if rng.random() < 0.7:
                    for mark in session.receive(receipt, now_us):
                        car.mark(mark)
            if not car.waiting:
                break
        assert not car.waiting
        assert car.sent == set(server.stored)
        assert car.rejected == server.bad
