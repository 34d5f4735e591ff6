"""From batches as received to the receipts that tell the cars what became of them.

Laws:
- a receipt is signed only after the commit that it speaks of; whoever calls `take` acknowledges the
  messages to the broker after that, and not where `take` raised;
- what waits together is committed together, since a commit costs as much as a batch; each batch is
  stored or refused by itself all the same;
- a batch not proven to be the car's own is put aside unanswered: an answer would let a mix-up
  of keys here make the car give up what it holds;
- so is one of a car that is not confirmed yet, or is revoked, and nothing of it is kept here;
- a repeat is answered "duplicate", a conflict or poison "rejected", with the reason; what was
  refused is kept in quarantine, unless it was erased, and the next message is served;
- what is above a car's quota is not looked at and not answered;
- the car may forget what "stored" and "duplicate" name, so nothing else is ever answered thus.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import select

from fleet_server.cars import standing
from fleet_server.cars.standing import NotWelcomeError, Standing
from fleet_server.ingest import validation
from fleet_server.ingest.quota import Quota, Quotas
from fleet_server.storage import intake, quarantine
from fleet_server.storage.database import Database
from fleet_server.storage.quarantine import Budget
from fleet_server.storage.received import (
    NOTHING_NEW,
    Accepted,
    Outcome,
    Received,
    accept,
    as_outcome,
)
from fleet_server.storage.tables import deployments
from fleet_server.storage.tombs import ErasedError
from shared.clock import Clock
from shared.errors import RefusedError, SignatureError
from shared.ids import sha256_hex
from shared.messages import Batch, Receipt
from shared.signing import SigningKey, VerifyKey, open_envelope, seal
from shared.task import Task
from shared.topics import BATCH, RECEIPT

logger = logging.getLogger(__name__)

_REASON_LENGTH = 200

_WASTED_ROWS = 100
"""What a message without a row that can be stored counts for in its car's quota. It takes the time
of some ten rows to look at and put aside, and nobody gains by it; a hundred leave a car 600 such
messages a minute of the usual quota, and the server to all others.
"""

_Opened = tuple[Received, Accepted | Outcome]
_TASKS = select(deployments.c.task).distinct()
_NOT_KEPT = (ErasedError, NotWelcomeError)
"""What is refused and leaves no copy: it is gone for good, or the car keeps it itself."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to publish in answer to a batch; `body` is the sealed form of `receipt`."""

    topic: str
    body: bytes
    receipt: Receipt


class Ingest:
    """Takes batches into the database. Used by one thread."""

    def __init__(
        self,
        database: Database,
        key: SigningKey,
        clock: Clock,
        budget: Budget | None = None,
        quota: Quota | None = None,
    ) -> None:
        """Store into `database` and sign receipts with `key`.

        Quarantine keeps to `budget`, and each car to `quota`; without one it may send what it will.
        """
        self._database = database
        self._key = key
        self._clock = clock
        self._budget = budget or Budget()
        self._quotas = None if quota is None else Quotas(quota)
        self.outcomes: Counter[str] = Counter()

    def take(self, topic: str, body: bytes) -> Reply | None:
        """Store or refuse the batch in `body`, received on `topic`; see `take_all`."""
        return self.take_all([(topic, body)])[0]

    def take_all(self, messages: Sequence[tuple[str, bytes]]) -> list[Reply | None]:
        """Store or refuse batches, each a topic and what came on it; return the receipts, if any.

        Raises:
            RetryLaterError: the database cannot store now; nothing was changed.
            ValueError: a topic is no batch topic, which is our own bug.
        """
        now = self._clock.utc_us()
        every = [_received(topic, body, now) for topic, body in messages]
        received = [each for each in every if self._is_admitted(each)]
        if not received:
            return [None] * len(every)
        cars, tasks = self._look_up(received)
        opened = [self._charged(_opened(each, cars, tasks)) for each in received]
        outcomes = self._store(opened)
        replies = {
            id(each): self._answer(each, outcome)
            for each, outcome in zip(received, outcomes, strict=True)
        }
        return [replies.get(id(each)) for each in every]

    def _is_admitted(self, received: Received) -> bool:
        if self._quotas is None:
            return True
        now = self._clock.monotonic_us()
        if self._quotas.admits(received.device, len(received.body), now):
            return True
        self.outcomes["over_quota"] += 1
        if self._quotas.held_back(received.device) == 1:
            logger.warning("over_quota device=%s", received.device)
        return False

    def _charged(self, opened: _Opened) -> _Opened:
        received, found = opened
        if self._quotas is not None:
            self._quotas.charge(received.device, _rows(found))
        return opened

    def _store(self, opened: Sequence[_Opened]) -> list[Outcome]:
        """Store what is opened; objects are written before the transaction begins."""
        accepted = [each for _, each in opened if isinstance(each, Accepted)]
        objects = self._database.objects
        if objects is not None and accepted:
            objects.put({each.received.sha256: each.received.body for each in accepted})
        outcomes: list[Outcome] = []
        with self._database.write() as connection:
            stored = iter(intake.store(connection, accepted, external=objects is not None))
            for received, each in opened:
                outcome = next(stored) if isinstance(each, Accepted) else each
                if isinstance(outcome, RefusedError) and not isinstance(outcome, _NOT_KEPT):
                    reason = str(outcome)[:_REASON_LENGTH]
                    quarantine.put_aside(connection, received, reason, self._budget)
                outcomes.append(outcome)
        return outcomes

    def _look_up(
        self, received: Sequence[Received]
    ) -> tuple[Mapping[str, Standing], Mapping[str, Task]]:
        with self._database.read() as connection:
            names = {each.device for each in received}
            cars = standing.of_cars(connection, names, utc_us=received[0].utc_us)
            texts = connection.scalars(_TASKS).all()
        tasks = [msgspec.json.decode(text, type=Task) for text in texts]
        return cars, {task.name: task for task in tasks}

    def _answer(self, received: Received, outcome: Outcome) -> Reply | None:
        """Count and log what became of a batch; return the receipt that says so."""
        if isinstance(outcome, RefusedError):
            is_proven = not isinstance(outcome, SignatureError)
            name = "rejected" if is_proven else "unproven"
            reason = str(outcome)[:_REASON_LENGTH]
            self.outcomes[name] += 1
            logger.warning(
                "batch_%s device=%s batch=%s reason=%r",
                *(name, received.device, received.sha256[:12], reason),
            )
            return self._reply(received, "rejected", reason=reason) if is_proven else None
        is_news: Literal["stored", "duplicate"] = "duplicate" if outcome.is_duplicate else "stored"
        self.outcomes[is_news] += 1
        logger.info(
            "batch_%s device=%s batch=%s samples=%d manoeuvres=%d pictures=%d",
            *(is_news, received.device, received.sha256[:12]),
            *(outcome.samples, outcome.manoeuvres, outcome.pictures),
        )
        return self._reply(received, is_news, new_samples=outcome.samples)

    def _reply(
        self,
        received: Received,
        outcome: Literal["stored", "duplicate", "rejected"],
        *,
        reason: str = "",
        new_samples: int = 0,
    ) -> Reply:
        topic = RECEIPT.topic(id=received.device)
        receipt = Receipt(
            device=received.device,
            batch=received.sha256,
            outcome=outcome,
            reason=reason,
            new_samples=new_samples,
        )
        return Reply(topic=topic, body=seal(receipt, topic=topic, key=self._key), receipt=receipt)


def _rows(found: Accepted | Outcome) -> int:
    """Return what a message counts for in its car's quota."""
    if not isinstance(found, Accepted):
        return _WASTED_ROWS
    batch = found.batch
    return len(batch.samples) + len(batch.manoeuvres) + len(batch.pictures)


def _received(topic: str, body: bytes, utc_us: int) -> Received:
    parts = BATCH.parts(topic)
    if parts is None:
        raise ValueError(f"not a batch topic: {topic}")
    return Received(
        device=parts["id"], topic=topic, body=body, sha256=sha256_hex(body), utc_us=utc_us
    )


def _opened(received: Received, cars: Mapping[str, Standing], tasks: Mapping[str, Task]) -> _Opened:
    """Return a message with the batch in it, or with what becomes of it where nothing is stored."""
    try:
        batch = _open(received, cars, tasks)
    except RefusedError as error:
        return received, as_outcome(error)
    if not (batch.samples or batch.manoeuvres or batch.pictures):
        return received, NOTHING_NEW
    return received, accept(batch, received)


def _open(received: Received, cars: Mapping[str, Standing], tasks: Mapping[str, Task]) -> Batch:
    car = cars.get(received.device)
    if car is None:
        raise SignatureError("unknown device")
    standing.check_welcome(car, received.device)
    batch = _proven(received, car)
    validation.check(batch, device=received.device, tasks=tasks)
    return batch


def _proven(received: Received, car: Standing) -> Batch:
    """Return the batch that the car's key has signed, or a former one that counts still."""
    present, *former = car.keys
    for key in former:
        with suppress(SignatureError):
            return _signed_by(key, received)
    return _signed_by(present, received)


def _signed_by(key: VerifyKey, received: Received) -> Batch:
    return open_envelope(BATCH, received.body, topic=received.topic, message_type=Batch, key=key)
