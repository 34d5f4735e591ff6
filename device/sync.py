"""What a car sends, when, and what a receipt proves: the rules of sync, without any IO.

Laws:
- the journal is the queue: this session remembers what is on its way and nothing else, so a kill or
  a lost connection costs one more transmission and never a row;
- a row is marked sent on the server's word "stored" or "duplicate" for a message that held it, and
  on nothing else; a late word about a message given up still counts: its rows are the same rows;
- one bad row never holds up the others: a rejected message is halved until the row stands alone,
  and a row rejected alone is put aside with the reason;
- nothing leaves beyond the level of consent: `none` sends nothing, `characteristics` no pictures
  but those that an operator asked for, where the owner consents to pictures;
- what the journal says goes first, then ends of manoeuvres, then the oldest;
- a message is no larger than the link, as receipts measure it, carries in about two seconds;
- silence is answered by waiting: full-jitter exponential back-off, so that a fleet that lost its
  server together does not return together; and by smaller messages with more patience, since a
  slow link looks like silence.

A row on its way is *in flight* under the SHA-256 of the sealed message:

    waiting --fill--> in flight --receipt: stored, duplicate--> marked sent
       ^                  |--receipt: rejected, alone--------> marked rejected
       |                  |--receipt: rejected, not alone----> two suspect halves, sent apart
       +---time-out, disconnect---+

Back-off after Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the wait is
uniform between 0 and min(cap, base * 2^failures).
"""

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from device.sync_link import SLOWEST, Link
from device.sync_rows import (
    Mark,
    Page,
    Row,
    RowKey,
    Rows,
    batch_of,
    grouped,
    key_of,
    marked,
    size_bytes,
    without_oversized,
)
from shared.ids import sha256_hex
from shared.messages import UPLOAD_ORDER, Batch, Receipt, UploadLevel
from shared.samples import Picture

_REMEMBERED = 64


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is sent at once, and how patiently; 128 KiB is where per-message cost stops ruling.

    `page_rows` bounds how many rows of one kind are read at a time, pictures to a quarter of it.
    """

    batch_bytes: int = 128 * 1024
    batch_rows: int = 200
    window: int = 2
    page_rows: int = 400
    answer_us: int = 8_000_000
    message_us: int = 2_000_000
    poll_us: int = 1_000_000
    backoff_base_us: int = 1_000_000
    backoff_cap_us: int = 60_000_000


@dataclass(frozen=True, kw_only=True)
class Send:
    """Publish `payload`; its receipt will name `digest`."""

    digest: str
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class _Flight:
    rows: Rows
    is_suspect: bool
    size_bytes: int
    sent_us: int
    deadline_us: int


def allowed(owner: UploadLevel, desired: UploadLevel) -> UploadLevel:
    """Return the lesser of the owner's consent and what the server asked for."""
    return min(owner, desired, key=UPLOAD_ORDER.index)


class SyncSession:
    """The sync of one car with its server, over any number of connections."""

    def __init__(
        self,
        *,
        device: str,
        seal: Callable[[Batch], bytes],
        rng: random.Random,
        limits: Limits | None = None,
    ) -> None:
        """Start disconnected and with consent `none`; `seal` signs a batch into a message."""
        self._device = device
        self._seal = seal
        self._rng = rng
        self._limits = limits or Limits()
        self._level: UploadLevel = "none"
        self._on_request = False
        self._asked: frozenset[RowKey] = frozenset()
        self._link = Link(self._limits.batch_bytes, self._limits.message_us)
        self._is_connected = False
        self._flights: OrderedDict[str, _Flight] = OrderedDict()
        self._past: OrderedDict[str, Mark] = OrderedDict()
        self._suspects: deque[Rows] = deque()
        self._failures = 0
        self._quiet_until_us = 0
        self._poll_at_us = 0
        self._found_nothing = False

    @property
    def level(self) -> UploadLevel:
        """What may leave the car."""
        return self._level

    @property
    def in_flight(self) -> int:
        """How many messages wait for their receipt."""
        return len(self._flights)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way and the last look at the journal found nothing to send."""
        return not self._flights and not self._suspects and self._found_nothing

    @property
    def page_limits(self) -> tuple[int, int]:
        """How many samples or manoeuvres, and how many pictures, the next `Page` may hold.

        At `pictures` these are its `pictures`, below it its `asked`.
        """
        rows = self._limits.page_rows
        if self._level == "pictures":
            return rows // 4, rows // 4
        return rows, rows // 4 if self._on_request else 0

    def connect(self, now_us: int) -> None:
        """Begin to send; after failures only when the back-off has passed."""
        self._is_connected = True
        self._quiet_until_us = now_us + self._backoff_us() if self._failures else now_us
        self.hurry()

    def disconnect(self) -> None:
        """Take back everything in flight: its rows wait in the journal as before."""
        self._is_connected = False
        self._link.forget()  # The next connection may be over another one.
        if self._flights:
            self._failures += 1
        for digest in list(self._flights):
            self._take_back(digest)
        self.hurry()

    def allow(self, level: UploadLevel, *, on_request: bool = False) -> None:
        """Let no more than `level` leave from now on; `on_request` also pictures asked for."""
        if (level, on_request) != (self._level, self._on_request):
            self._level = level
            self._on_request = on_request
            self._suspects.clear()
            self.hurry()

    def hurry(self) -> None:
        """Look into the journal at the next opportunity."""
        self._poll_at_us = 0
        self._found_nothing = False

    def wants_rows(self, now_us: int) -> bool:
        """Tell whether `fill` would send something now, given rows; also judges time-outs."""
        self._expire(now_us)
        return (
            self._is_connected
            and self._level != "none"
            and len(self._flights) < self._limits.window
            and now_us >= self._quiet_until_us
            and (now_us >= self._poll_at_us or bool(self._suspects))
        )

    def fill(self, page: Page, now_us: int) -> list[Send | Mark]:
        """Return what to do with the rows of `page`: messages to send, rows to put aside."""
        actions: list[Send | Mark] = []
        page, hopeless = without_oversized(page)
        self._asked = frozenset(key_of(picture) for picture in page.asked)
        if hopeless:
            actions.append(hopeless)
        while self.wants_rows(now_us):
            is_suspect = bool(self._suspects)
            rows = self._suspects.popleft() if is_suspect else self._next_batch(page)
            if not rows:
                self._found_nothing = True
                self._poll_at_us = now_us + self._limits.poll_us
                break
            actions.append(self._launch(rows, now_us, is_suspect=is_suspect))
        return actions

    def receive(self, receipt: Receipt, now_us: int) -> list[Mark]:
        """Return which rows a verified receipt takes out of the queue."""
        flight = self._flights.pop(receipt.batch, None)
        past = self._past.pop(receipt.batch, None)
        if flight is None and past is None:
            return []
        self._failures = 0
        self._quiet_until_us = 0
        self.hurry()
        if flight is not None:
            self._link.measure(flight.size_bytes, now_us - flight.sent_us)
        if receipt.outcome == "rejected":
            return self._rejected(flight.rows, receipt.reason) if flight else []
        return [marked(flight.rows, "sent")] if flight else [past] if past else []

    def _rejected(self, rows: Rows, reason: str) -> list[Mark]:
        if len(rows) == 1:
            return [marked(rows, "rejected", reason or "rejected without a reason")]
        middle = len(rows) // 2
        self._suspect(rows[:middle])
        self._suspect(rows[middle:])
        return []

    def _suspect(self, rows: Rows) -> None:
        # Consent may have shrunk since these rows were chosen.
        rows = tuple(row for row in rows if self._may_leave(row))
        if rows:
            self._suspects.append(rows)

    def _may_leave(self, row: Row) -> bool:
        if not isinstance(row, Picture) or self._level == "pictures":
            return True
        return self._on_request and key_of(row) in self._asked

    def _launch(self, rows: Rows, now_us: int, *, is_suspect: bool) -> Send:
        payload = self._seal(batch_of(self._device, rows))
        digest = sha256_hex(payload)
        patience_us = self._limits.answer_us << min(self._failures, SLOWEST)
        self._flights[digest] = _Flight(
            rows=rows,
            is_suspect=is_suspect,
            size_bytes=len(payload),
            sent_us=now_us,
            deadline_us=now_us + patience_us,
        )
        return Send(digest=digest, payload=payload)

    def _expire(self, now_us: int) -> None:
        late = [digest for digest, flight in self._flights.items() if now_us >= flight.deadline_us]
        for digest in late:
            self._take_back(digest)
        if late:
            self._failures += 1
            self._quiet_until_us = now_us + self._backoff_us()
            self.hurry()

    def _take_back(self, digest: str) -> None:
        flight = self._flights.pop(digest)
        # Remembered by its keys alone: a slow server's word still spares us the repetition.
        self._past[digest] = marked(flight.rows, "sent")
        while len(self._past) > _REMEMBERED:
            self._past.popitem(last=False)
        if flight.is_suspect:
            self._suspect(flight.rows)

    def _backoff_us(self) -> int:
        # 2^30 is beyond any cap; the exponent is bounded so that a week of silence stays cheap.
        doubled = self._limits.backoff_base_us << min(self._failures, 30)
        return self._rng.randint(0, min(self._limits.backoff_cap_us, doubled))

    def _next_batch(self, page: Page) -> Rows:
        busy = {key_of(row) for flight in self._flights.values() for row in flight.rows}
        budget = self._link.budget_bytes(self._failures)
        chosen: list[Row] = []
        size = 0
        for group in self._ordered(page):
            free = [row for row in group if key_of(row) not in busy]
            more = sum(size_bytes(row) for row in free)
            over_bytes = size + more > budget
            if chosen and (over_bytes or len(chosen) + len(free) > self._limits.batch_rows):
                break
            chosen += free
            size += more
        return tuple(chosen)

    def _ordered(self, page: Page) -> Iterable[Sequence[Row]]:
        pictures = page.asked if self._on_request else ()
        groups = grouped(page, page.pictures if self._level == "pictures" else pictures)
        if not page.first:
            return groups
        return sorted(groups, key=lambda group: page.first.isdisjoint(map(key_of, group)))
