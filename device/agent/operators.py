"""Whose own orders a car obeys beside its server's: the operators' keys, in the server's word.

Laws:
- keys count with the server's signature alone, and not below the revision in force: what was taken
  from an operator cannot be given back by whoever repeats an older message;
- what is read back from the disk is verified as what comes from the broker is;
- a key counts for its own name, and until its time: by the later of the clock and the moment at
  which the server said so, since a clock may wake up in 1970;
- without any word of the server there are no operators.
"""

import logging
from pathlib import Path

from shared.clock import Clock
from shared.errors import RefusedError
from shared.messages import Operators
from shared.signing import VerifyKey, open_envelope, write_secret
from shared.topics import OPERATORS

logger = logging.getLogger(__name__)


class OperatorKeys:
    """The operators' keys in force on one car."""

    def __init__(self, path: Path, server_key: VerifyKey, clock: Clock) -> None:
        """Take up what `path` keeps; what is not the server's word there counts for nothing."""
        self._path = path
        self._server_key = server_key
        self._clock = clock
        self._in_force: Operators | None = None
        self._kept = b""
        try:
            self._kept = path.read_bytes()
            self._in_force = self._open(self._kept)
        except FileNotFoundError:
            return
        except (OSError, RefusedError) as error:
            logger.warning("operators_not_read reason=%s", error)

    def take(self, payload: bytes) -> None:
        """Put the keys in `payload` in force, and keep them; older ones than those are ignored.

        They count at once, also where the disk does not take them: the broker says them again on
        the next connection.

        Raises:
            RefusedError: they are not the server's word.
        """
        said, known = self._open(payload), self._in_force
        if known is not None and (said.revision, said.utc_us) < (known.revision, known.utc_us):
            logger.info("operators_ignored revision=%d in_force=%d", said.revision, known.revision)
            return
        self._in_force = said
        if payload == self._kept:
            return
        logger.info("operators revision=%d number=%d", said.revision, len(said.keys))
        try:
            write_secret(self._path, payload)
        except OSError as error:
            logger.warning("operators_not_kept reason=%s", error.strerror)
        else:
            self._kept = payload

    def of(self, actor: str) -> tuple[VerifyKey, ...]:
        """Return the keys whose signature makes an order one of `actor`; none or one."""
        if self._in_force is None:
            return ()
        now_us = max(self._clock.utc_us(), self._in_force.utc_us)
        return tuple(
            VerifyKey(each.public_key)
            for each in self._in_force.keys
            if each.name == actor and now_us < each.until_utc_us
        )

    def _open(self, payload: bytes) -> Operators:
        topic = OPERATORS.topic()
        return open_envelope(
            OPERATORS, payload, topic=topic, message_type=Operators, key=self._server_key
        )
