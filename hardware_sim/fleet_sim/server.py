"""A model of the fleet server in memory: what a car may rely on, and nothing else.

Laws:
- a receipt is signed after the rows are kept, and only for a batch that its car signed;
- a row is kept once under its key: a repeat is counted, another content under the same key is a
  conflict and is refused;
- topics marked retained are told to whoever subscribes later, as a broker does.

It stands in for `fleet_server` where the fleet, not the server, is what is looked at.
"""

from collections import Counter
from dataclasses import dataclass, field

from shared import codec
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.messages import Batch, Chunk, Desired, Receipt, ReleaseMetadata, Status
from shared.samples import ManoeuvreEnd, Picture, Sample, content_hash
from shared.signing import SigningKey, VerifyKey, open_envelope, seal
from shared.topics import BATCH, DESIRED, RECEIPT, RELEASE_METADATA, RELEASE_TARGET, STATUS


@dataclass(frozen=True, kw_only=True)
class Said:
    """A message of the server, as the broker hands it on."""

    topic: str
    payload: bytes
    retained: bool = False


@dataclass
class Ledger:
    """What is kept of one car: content hashes by key, and what was counted on the way."""

    samples: dict[tuple[str, int], str] = field(default_factory=dict)
    manoeuvres: dict[tuple[str, int], str] = field(default_factory=dict)
    pictures: dict[tuple[str, int], str] = field(default_factory=dict)
    moments: Counter[int] = field(default_factory=Counter)
    status: Status | None = None

    @property
    def doubled(self) -> int:
        """How many pairs are kept a second time, under another key: a moment is one pair's."""
        return sum(count - 1 for count in self.moments.values())


class ModelServer:
    """Keeps batches of any number of cars, answers with receipts, tells wishes and releases."""

    def __init__(self, key: SigningKey, deployment: str) -> None:
        """Start with no car; every car belongs to `deployment`."""
        self.ledgers: dict[str, Ledger] = {}
        self.counts: Counter[str] = Counter()
        self.deployment = deployment
        self.public = key.public
        self._key = key
        self._cars: dict[str, VerifyKey] = {}
        self._wish = Desired(device="any", epoch=1, revision=1, deployment=deployment)
        self._retained: dict[str, bytes] = {}

    @property
    def has_release(self) -> bool:
        """Tell whether a model was published."""
        return self._wish.target is not None

    def enrol(self, device: str, key: VerifyKey) -> None:
        """Take `device` into the fleet."""
        self._cars[device] = key
        self.ledgers[device] = Ledger()

    def release(self, metadata: ReleaseMetadata, pieces: list[bytes], *, target: str) -> None:
        """Publish a model in `pieces` and wish every car to have it."""
        sha256 = sha256_hex(b"".join(pieces))
        self._retained[RELEASE_METADATA.topic()] = codec.encode(metadata)
        for number, piece in enumerate(pieces):
            topic = RELEASE_TARGET.topic(sha256=sha256, n=number)
            self._retained[topic] = codec.encode(Chunk(data=piece))
        self._wish = Desired(
            device="any",
            epoch=1,
            revision=self._wish.revision + 1,
            deployment=self.deployment,
            target=target,
        )

    def wish(self, device: str) -> Said:
        """Return what is wanted of `device` now."""
        wish = Desired(
            device=device,
            epoch=self._wish.epoch,
            revision=self._wish.revision,
            deployment=self._wish.deployment,
            target=self._wish.target,
        )
        topic = DESIRED.topic(id=device)
        return Said(topic=topic, payload=seal(wish, topic=topic, key=self._key), retained=True)

    def subscribed(self, device: str, topic_filter: str) -> list[Said]:
        """Return what is retained on `topic_filter`, which names one topic."""
        if topic_filter == DESIRED.topic(id=device):
            return [self.wish(device)]
        kept = self._retained.get(topic_filter)
        return [] if kept is None else [Said(topic=topic_filter, payload=kept, retained=True)]

    def published(self, device: str, topic: str, payload: bytes) -> list[Said]:
        """Take a message of `device` and return what the server says to it."""
        self.counts["messages"] += 1
        if STATUS.parts(topic) is not None:
            status = codec.decode(Status, payload, limit_bytes=STATUS.limit_bytes)
            self.ledgers[device].status = status
        if BATCH.parts(topic) is None:
            return []
        receipt = self._take(device, topic, payload)
        self.counts["receipts"] += 1
        self.counts[f"receipts_{receipt.outcome}"] += 1
        answer = RECEIPT.topic(id=device)
        return [Said(topic=answer, payload=seal(receipt, topic=answer, key=self._key))]

    def _take(self, device: str, topic: str, payload: bytes) -> Receipt:
        digest = sha256_hex(payload)
        try:
            batch = open_envelope(
                BATCH, payload, topic=topic, message_type=Batch, key=self._cars[device]
            )
            new = self._keep(self.ledgers[device], batch)
        except RefusedError as error:
            return Receipt(device=device, batch=digest, outcome="rejected", reason=str(error)[:200])
        return Receipt(
            device=device, batch=digest, outcome="stored" if new else "duplicate", new_samples=new
        )

    def _keep(self, ledger: Ledger, batch: Batch) -> int:
        """Keep what is new in `batch` and return how many rows that were."""
        samples = [(_key(row), content_hash(row), ledger.samples) for row in batch.samples]
        ends = [(_key(row), content_hash(row), ledger.manoeuvres) for row in batch.manoeuvres]
        pictures = [(_key(row), _checked(row), ledger.pictures) for row in batch.pictures]
        rows = [*samples, *ends, *pictures]
        for key, content, kept in rows:
            if kept.get(key, content) != content:
                raise RefusedError(f"{key} is in use for another content")
        new = [(key, content, kept) for key, content, kept in rows if key not in kept]
        self.counts["rows_repeated"] += len(rows) - len(new)
        for key, content, kept in new:
            kept[key] = content
        fresh = {key for key, _, kept in new if kept is ledger.samples}
        ledger.moments.update(s.monotonic_us for s in batch.samples if _key(s) in fresh)
        return len(new)


def _key(row: Sample | ManoeuvreEnd | Picture) -> tuple[str, int]:
    return row.boot, row.manoeuvre if isinstance(row, ManoeuvreEnd) else row.sequence


def _checked(picture: Picture) -> str:
    if sha256_hex(picture.jpeg) != picture.sha256:
        raise RefusedError(f"picture {picture.sequence}: its bytes are not those of its digest")
    return picture.sha256
