"""What the server wants of the car: verified, put in order, and kept.

Laws:
- a wish counts only with the server's signature for exactly this car and topic;
- a wish older than the one in force is ignored;
- a wish is in force once the journal holds it; where the journal did not take it, it is kept here
  until it does, since nobody says it again.
"""

import logging

from device.journal import Journal
from shared.errors import RefusedError
from shared.messages import Desired
from shared.mqtt_events import Received
from shared.signing import VerifyKey, open_envelope
from shared.topics import DESIRED

logger = logging.getLogger(__name__)


class Wishes:
    """The wish in force, and one that the journal has yet to take."""

    def __init__(self, journal: Journal, device: str, server_key: VerifyKey) -> None:
        """Take up what the journal keeps."""
        self._journal = journal
        self._device = device
        self._server_key = server_key
        self.in_force = journal.desired()
        self.unkept: Received | None = None

    def take(self, message: Received) -> Desired | None:
        """Put the wish in `message` in force and return it; None where a newer one is.

        Raises:
            RefusedError: it is not the server's word to this car.
            RetryLaterError: the journal did not take it; it stays `unkept`.
        """
        wish = open_envelope(
            DESIRED,
            message.payload,
            topic=message.topic,
            message_type=Desired,
            key=self._server_key,
        )
        if wish.device != self._device:
            raise RefusedError(f"a wish for {wish.device}")
        known = self.in_force
        if known is not None and (wish.epoch, wish.revision) < (known.epoch, known.revision):
            logger.info("wish_ignored epoch=%d revision=%d", wish.epoch, wish.revision)
            return None
        if wish != known:
            self.unkept = message
            self._journal.set_desired(wish)
            self.unkept = None
            self.in_force = wish
            logger.info(
                "wish epoch=%d revision=%d target=%s upload=%s",
                *(wish.epoch, wish.revision, wish.target, wish.upload),
            )
        return wish
