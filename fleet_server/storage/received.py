"""What came in of cars, and what became of it.

Laws:
- whatever can be made ready is (`accept`) before the transaction begins: others wait while it runs;
- an outcome holds no message: it may be kept for as long as one likes.
"""

from dataclasses import dataclass

from fleet_server.storage import records
from fleet_server.storage.records import Rows
from shared.errors import RefusedError
from shared.messages import Batch


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message as it came: its bytes, their SHA-256, who sent it, when (UTC microseconds)."""

    device: str
    topic: str
    body: bytes
    sha256: str
    utc_us: int


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A batch that may be stored, the message that held it, and the rows that index it."""

    batch: Batch
    received: Received
    rows: Rows


def accept(batch: Batch, received: Received) -> Accepted:
    """Return `batch` ready to be stored."""
    rows = records.of_batch(batch, received.body, received.utc_us)
    return Accepted(batch=batch, received=received, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How much of a batch was new."""

    samples: int
    manoeuvres: int
    pictures: int

    @property
    def is_duplicate(self) -> bool:
        """Whether nothing was new."""
        return not (self.samples or self.manoeuvres or self.pictures)


NOTHING_NEW = Stored(samples=0, manoeuvres=0, pictures=0)

Outcome = Stored | RefusedError


def as_outcome(error: RefusedError) -> RefusedError:
    """Return `error` without the frames that it came through, to be kept as a value.

    They hold the message, and the outcomes with the error itself: such a ring is let go only when
    the garbage collector comes round, after hundreds of messages.
    """
    error.__traceback__ = error.__context__ = None
    return error
