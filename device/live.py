"""Live values from drive to agent, and nudges back, over local datagram sockets.

Laws:
- sending never blocks and never fails: where nobody listens, or nobody reads, the datagram is
  dropped, since whatever matters is in the journal;
- receiving never blocks, and a datagram that is not understood is passed over;
- a disk that has no room for a socket file leaves a process deaf, not dumb;
- only this user's processes can send (the sockets lie in the home folder, mode 0700).

Each process binds its own socket; a socket file that a killed process left behind is replaced.
"""

import errno
import logging
import os
import socket
from pathlib import Path
from typing import Literal

import msgspec

from shared.errors import UsageError
from shared.messages import Telemetry

_log = logging.getLogger(__name__)

_LIMIT_BYTES = 4096


class Nudge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="nudge"):
    """Agent to drive: look at the journal's active model, stop at once, begin to park, or identify.

    To identify is to blink and beep for a while, so that people find the car.

    Whether a car may park on another's word is decided before this is sent.
    """

    what: Literal["model", "stop", "park", "identify"]


class Live(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="live"):
    """Drive to agent: what to tell operators; `logged` says that new pairs are in the journal.

    `faults` are what is wrong now: the only way to learn of a journal that takes nothing.
    `armed_age_us` tells how long ago somebody at the car pressed a button to drive; None where
    nobody did, or it was stopped since.
    """

    telemetry: Telemetry
    logged: bool = False
    faults: tuple[str, ...] = ()
    armed_age_us: int | None = None


_decoder: msgspec.msgpack.Decoder[Nudge | Live] = msgspec.msgpack.Decoder(Nudge | Live)


class LiveSocket:
    """One process's end."""

    def __init__(self, own: Path, peer: Path) -> None:
        """Listen at `own` and send to `peer`, two socket files of the home folder.

        Raises:
            UsageError: the folder cannot hold a socket.
        """
        self._own, self._peer = own, peer
        self._trouble: int | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        try:
            self._folder = os.open(own.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._socket.close()
            raise UsageError(f"cannot open the folder {own.parent}: {error.strerror}") from None
        try:
            own.unlink(missing_ok=True)
            self._socket.bind(self._address(own))
        except OSError as error:
            if error.errno in _NO_ROOM:
                _log.warning("deaf_to_the_other_process error=%s", error.strerror)
                return
            self.close()
            raise UsageError(f"cannot listen at {own}: {error.strerror}") from None

    def fileno(self) -> int:
        """Return the descriptor to wait on for something to receive."""
        return self._socket.fileno()

    def send(self, message: Nudge | Live) -> bool:
        """Send `message`; tell whether somebody got it."""
        try:
            self._socket.sendto(msgspec.msgpack.encode(message), self._address(self._peer))
        except OSError as error:
            if error.errno not in _NOBODY_LISTENS and error.errno != self._trouble:
                _log.warning("not_heard_by_the_other_process error=%s", error.strerror)
                self._trouble = error.errno
            return False
        return True

    def receive(self) -> Nudge | Live | None:
        """Return the next message that is understood, or None where none waits."""
        while True:
            try:
                data = self._socket.recv(_LIMIT_BYTES)
            except BlockingIOError:
                return None
            try:
                return _decoder.decode(data)
            except (msgspec.MsgspecError, RecursionError):
                continue

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        os.close(self._folder)

    def _address(self, path: Path) -> str:
        # A socket's address holds 107 bytes, a home folder's path may be longer.
        return f"/proc/self/fd/{self._folder}/{path.name}"


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_NOBODY_LISTENS = frozenset(
    {errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS, errno.ECONNRESET}
)
