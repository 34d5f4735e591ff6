"""From a batch as received to the receipt that tells the car what became of it.

Laws:
- a receipt is signed only after the commit that it speaks of; whoever calls `take` acknowledges the
  message to the broker after that, and not where `take` raised;
- a batch not proven to be the car's own is put aside unanswered: an answer would let a mix-up
  of keys here make the car give up what it holds;
- a repeat is answered "duplicate", a conflict or poison "rejected", with the reason; what was
  refused is kept in quarantine, and the next message is served;
- the car may forget what "stored" and "duplicate" name, so nothing else is ever answered thus.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import select

from fleet_server import validation
from fleet_server.storage import intake
from fleet_server.storage.database import Database
from fleet_server.storage.intake import NOTHING_NEW, Received, Stored
from fleet_server.storage.tables import deployments, devices
from shared.clock import Clock
from shared.errors import RefusedError, SignatureError
from shared.ids import sha256_hex
from shared.messages import Batch, Receipt
from shared.signing import SigningKey, VerifyKey, open_envelope, seal
from shared.task import Task
from shared.topics import BATCH, RECEIPT

logger = logging.getLogger(__name__)

_REASON_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to publish in answer to a batch; `body` is the sealed form of `receipt`."""

    topic: str
    body: bytes
    receipt: Receipt


class Ingest:
    """Takes batches into the database. Used by one thread."""

    def __init__(self, database: Database, key: SigningKey, clock: Clock) -> None:
        """Store into `database` and sign receipts with `key`."""
        self._database = database
        self._key = key
        self._clock = clock
        self.outcomes: Counter[str] = Counter()

    def take(self, topic: str, body: bytes) -> Reply | None:
        """Store or refuse the batch in `body`, received on `topic`, and return the receipt, if any.

        Raises:
            RetryLaterError: the database cannot store now; nothing was changed.
            ValueError: `topic` is no batch topic, which is our own bug.
        """
        parts = BATCH.parts(topic)
        if parts is None:
            raise ValueError(f"not a batch topic: {topic}")
        received = Received(
            device=parts["id"],
            topic=topic,
            body=body,
            sha256=sha256_hex(body),
            utc_us=self._clock.utc_us(),
        )
        try:
            stored = self._store(received)
        except SignatureError as error:
            self._put_aside(received, "unproven", str(error))
            return None
        except RefusedError as error:
            return self._reject(received, str(error)[:_REASON_LENGTH])
        outcome: Literal["stored", "duplicate"] = "duplicate" if stored.is_duplicate else "stored"
        self.outcomes[outcome] += 1
        logger.info(
            "batch_%s device=%s batch=%s samples=%d manoeuvres=%d pictures=%d",
            *(outcome, received.device, received.sha256[:12]),
            *(stored.samples, stored.manoeuvres, stored.pictures),
        )
        return self._reply(
            Receipt(
                device=received.device,
                batch=received.sha256,
                outcome=outcome,
                new_samples=stored.samples,
            )
        )

    def _store(self, received: Received) -> Stored:
        key, tasks = self._look_up(received.device)
        batch = open_envelope(
            BATCH, received.body, topic=received.topic, message_type=Batch, key=key
        )
        validation.check(batch, device=received.device, tasks=tasks)
        if not (batch.samples or batch.manoeuvres or batch.pictures):
            return NOTHING_NEW
        with self._database.write() as connection:
            return intake.store(connection, batch, received)

    def _look_up(self, device: str) -> tuple[VerifyKey, Mapping[str, Task]]:
        with self._database.read() as connection:
            raw = connection.scalar(select(devices.c.public_key).filter_by(name=device))
            texts = connection.scalars(select(deployments.c.task).distinct()).all()
        if raw is None:
            raise SignatureError("unknown device")
        tasks = [msgspec.json.decode(text, type=Task) for text in texts]
        return VerifyKey(raw), {task.name: task for task in tasks}

    def _reject(self, received: Received, reason: str) -> Reply:
        self._put_aside(received, "rejected", reason)
        return self._reply(
            Receipt(
                device=received.device, batch=received.sha256, outcome="rejected", reason=reason
            )
        )

    def _put_aside(self, received: Received, outcome: str, reason: str) -> None:
        with self._database.write() as connection:
            intake.put_aside(connection, received, reason, limit_bytes=BATCH.limit_bytes)
        self.outcomes[outcome] += 1
        logger.warning(
            "batch_%s device=%s batch=%s reason=%r",
            *(outcome, received.device, received.sha256[:12], reason),
        )

    def _reply(self, receipt: Receipt) -> Reply:
        topic = RECEIPT.topic(id=receipt.device)
        return Reply(topic=topic, body=seal(receipt, topic=topic, key=self._key), receipt=receipt)
