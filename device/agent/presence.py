"""Connection numbers and the last will.

Laws:
- a number is used for one attempt to connect and never again, over restarts too: whoever sees two
  knows which is the later;
- numbers are set aside on the disk by the thousand, so that a night of attempts without a network
  does not wear the flash.
"""

import logging
import threading
from pathlib import Path

from shared import codec
from shared.errors import UsageError
from shared.messages import Presence
from shared.mqtt import Will
from shared.signing import write_secret
from shared.topics import PRESENCE

logger = logging.getLogger(__name__)

_BLOCK = 1000


class Presences:
    """Who we are on this connection. `will` is called by the network thread."""

    def __init__(self, path: Path, *, device: str, boot: str) -> None:
        """Continue the numbers kept at `path`.

        Raises:
            UsageError: the file cannot be read or written.
        """
        self._path = path
        self._device = device
        self._lock = threading.Lock()
        self.boot = boot
        self.connection = _read(path)
        try:
            self._reserve(self.connection)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None

    def will(self) -> Will:
        """Return the last will of a new attempt to connect, under a number of its own."""
        with self._lock:
            self.connection += 1
            if self.connection >= self._end:
                self._reserve_later()
        return self.say(online=False)

    def say(self, *, online: bool) -> Will:
        """Return our presence on the present connection, as something to publish."""
        presence = Presence(
            device=self._device, boot=self.boot, connection=self.connection, online=online
        )
        return Will(topic=PRESENCE.topic(id=self._device), payload=codec.encode(presence))

    def _reserve(self, first: int) -> None:
        write_secret(self._path, str(first + _BLOCK).encode())
        self._end = first + _BLOCK

    def _reserve_later(self) -> None:
        try:
            self._reserve(self.connection)
        except OSError as error:
            # A full disk must not end the network thread; the next attempt tries again.
            logger.warning("connection_numbers_not_kept reason=%s", error.strerror)


def _read(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return 0
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    if not text.isdecimal() or len(text) > 15:
        raise UsageError(
            f"{path} holds no number; write one higher than any connection of this car"
        )
    return int(text)
