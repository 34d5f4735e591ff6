"""Carries out `device.sync` on the journal: reads waiting rows, seals them, marks what is stored.

Laws:
- rows are marked in the journal before the receipt that says so is acknowledged;
- the journal gives nothing out that was captured below the level of consent it needs; what the
  owner and the server want now is held here, and the least of the three decides;
- a picture that an operator asks for by name overrules the server's own `characteristics`, never
  the owner's;
- a page is read only when something may be sent, and never more than a page;
- a receipt counts only with the server's signature for this car's topic.
"""

import logging
import random

from device.agent.effects import Effect, Publish
from device.journal import Journal
from device.sync import Send, SyncSession, allowed
from device.sync_rows import Mark, Page
from shared.clock import Clock
from shared.errors import RefusedError
from shared.messages import Batch, Receipt, UploadLevel
from shared.signing import SigningKey, VerifyKey, open_envelope, seal
from shared.topics import BATCH, RECEIPT

logger = logging.getLogger(__name__)


class Uploading:
    """What one car sends of its journal."""

    def __init__(
        self,
        *,
        journal: Journal,
        device: str,
        key: SigningKey,
        server_key: VerifyKey,
        owner_level: UploadLevel,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Send what `journal` holds, never beyond `owner_level`, signed by `key`."""
        self._journal = journal
        self._device = device
        self._server_key = server_key
        self._owner_level = owner_level
        self._clock = clock
        self.pictures_withheld = ""
        self._topic = BATCH.topic(id=device)
        topic = self._topic

        def sealed(batch: Batch) -> bytes:
            return seal(batch, topic=topic, key=key)

        self._session = SyncSession(device=device, seal=sealed, rng=rng)

    @property
    def level(self) -> UploadLevel:
        """What may leave the car now."""
        return self._session.level

    @property
    def is_settled(self) -> bool:
        """Whether everything that may leave has left, and its receipts are here."""
        return self._session.is_settled

    def allow(self, desired: UploadLevel) -> None:
        """Let leave what both the owner and the server's wish allow."""
        on_request = self._owner_level == "pictures" and desired == "characteristics"
        self._session.allow(allowed(self._owner_level, desired), on_request=on_request)
        self.pictures_withheld = "" if on_request else self._withheld(desired)

    def _withheld(self, desired: UploadLevel) -> str:
        if self._session.level == "pictures":
            return ""
        who = "the owner" if self._owner_level != "pictures" else "the server's wish"
        level = self._owner_level if self._owner_level != "pictures" else desired
        return f"{who} lets no picture leave: {level}"

    def hurry(self) -> None:
        """Look into the journal at the next opportunity."""
        self._session.hurry()

    def connected(self) -> None:
        """Begin to send."""
        self._session.connect(self._clock.monotonic_us())

    def disconnected(self) -> None:
        """Take back what is on its way."""
        self._session.disconnect()

    def tick(self) -> list[Effect]:
        """Return what to send now.

        Raises:
            RetryLaterError: the journal does not answer now.
        """
        now_us = self._clock.monotonic_us()
        if not self._session.wants_rows(now_us):
            return []
        page = self._page()
        effects: list[Effect] = []
        for action in self._session.fill(page, now_us):
            if isinstance(action, Send):
                effects.append(Publish(topic=self._topic, payload=action.payload))
            else:
                self._mark(action)
        return effects

    def _page(self) -> Page:
        rows, limit = self._session.page_limits
        is_on_request = self._session.level != "pictures"
        found = self._journal.unsent_pictures(limit, asked=is_on_request) if limit else []
        return Page(
            samples=self._journal.unsent_samples(rows),
            manoeuvres=self._journal.unsent_manoeuvres(rows),
            pictures=() if is_on_request else found,
            asked=found if is_on_request else (),
            first=self._journal.first_rows(rows),
        )

    def receipt(self, payload: bytes, topic: str) -> list[Effect]:
        """Take a receipt, and send what follows.

        Raises:
            RefusedError: it is not the server's word to this car.
            RetryLaterError: the journal could not keep it.
        """
        receipt = open_envelope(
            RECEIPT, payload, topic=topic, message_type=Receipt, key=self._server_key
        )
        if receipt.device != self._device:
            raise RefusedError(f"a receipt for {receipt.device}")
        for mark in self._session.receive(receipt, self._clock.monotonic_us()):
            self._mark(mark)
        return self.tick()

    def _mark(self, mark: Mark) -> None:
        if mark.outcome == "rejected":
            logger.warning(
                "rows_put_aside samples=%s pictures=%s manoeuvres=%s reason=%r",
                *(mark.samples, mark.pictures, mark.manoeuvres, mark.reason),
            )
        self._journal.mark(
            samples=mark.samples,
            manoeuvres=mark.manoeuvres,
            pictures=mark.pictures,
            outcome=mark.outcome,
            reason=mark.reason,
        )
