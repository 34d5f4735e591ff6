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
- the car may forget what "stored" and "duplicate" name, so nothing else is ever answered thus.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import select

from fleet_server import standing, validation
from fleet_server.standing import NotWelcomeError, Standing
from fleet_server.storage import intake, quarantine
from fleet_server.storage.database import Database
from fleet_server.storage.intake import NOTHING_NEW, Accepted, Outcome, Received
from fleet_server.storage.quarantine import Budget
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
        self, database: Database, key: SigningKey, clock: Clock, budget: Budget | None = None
    ) -> None:
        """Store into `database` and sign receipts with `key`; quarantine keeps to `budget`."""
        self._database = database
        self._key = key
        self._clock = clock
        self._budget = budget or Budget()
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
        received = [_received(topic, body, now) for topic, body in messages]
        found = self._open(received)
        accepted = {
            place: each
            for place, each in enumerate(found)
            if isinstance(each, Accepted) and _says_something(each.batch)
        }
        objects = self._database.objects
        if objects is not None and accepted:
            objects.put(_bodies(accepted.values()))
        with self._database.write() as connection:
            stored = intake.store(connection, list(accepted.values()), external=objects is not None)
            outcomes = dict(enumerate(_settled(found))) | dict(zip(accepted, stored, strict=True))
            for place, outcome in outcomes.items():
                if isinstance(outcome, RefusedError) and not isinstance(outcome, _NOT_KEPT):
                    reason = str(outcome)[:_REASON_LENGTH]
                    quarantine.put_aside(connection, received[place], reason, self._budget)
        return [self._answer(each, outcomes[place]) for place, each in enumerate(received)]

    def _open(self, received: Sequence[Received]) -> list[Accepted | RefusedError]:
        cars, tasks = self._look_up(received)
        found: list[Accepted | RefusedError] = []
        for each in received:
            try:
                found.append(Accepted(batch=_open(each, cars, tasks), received=each))
            except RefusedError as error:
                found.append(error)
        return found

    def _look_up(
        self, received: Sequence[Received]
    ) -> tuple[Mapping[str, Standing], Mapping[str, Task]]:
        with self._database.read() as connection:
            names = {each.device for each in received}
            cars = standing.of_cars(connection, names, utc_us=received[0].utc_us)
            texts = connection.scalars(select(deployments.c.task).distinct()).all()
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


def _received(topic: str, body: bytes, utc_us: int) -> Received:
    parts = BATCH.parts(topic)
    if parts is None:
        raise ValueError(f"not a batch topic: {topic}")
    return Received(
        device=parts["id"], topic=topic, body=body, sha256=sha256_hex(body), utc_us=utc_us
    )


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


def _says_something(batch: Batch) -> bool:
    return bool(batch.samples or batch.manoeuvres or batch.pictures)


def _settled(found: Iterable[Accepted | RefusedError]) -> list[Outcome]:
    """Return what is known before anything is stored; an empty batch has nothing new."""
    return [NOTHING_NEW if isinstance(each, Accepted) else each for each in found]


def _bodies(accepted: Iterable[Accepted]) -> dict[str, bytes]:
    return {each.received.sha256: each.received.body for each in accepted}
