"""Local sockets between a world and cars in other processes.

Laws:
- only this user's processes get in: the socket's file has mode 0600 from its first moment;
- a file that a killed world left behind is replaced, anything else in its place is left alone;
- nobody waits without end for a world: what a control loop asks has its own, shorter patience;
- a question that was not answered in time ends its connection, unless its answer carries a number:
  a late answer would pass for the next one;
- whatever goes wrong on a car's side is an `OSError`, as from the kernel's own device files.
"""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hardware_sim.apart import wire
from shared.errors import HardwareError, RefusedError, UsageError

_PATIENCE_S: Final = 5.0

_GONE: Final = "the world is gone"
_WAITING: Final = 16
_SOCKET: Final = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen at `path` for as long as the context lasts; the file goes with it.

    Raises:
        UsageError: another world listens there, something else lies there, or the folder, which is
            made where it is missing, cannot be had.
    """
    listener = socket.socket(socket.AF_UNIX, _SOCKET)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _addressed(path) as address:
            _make_room(path, address)
            # Before it is bound: so the file never has another mode.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(address)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen at {path}: {error.strerror or error}") from None
    except UsageError:
        listener.close()
        raise
    try:
        listener.setblocking(False)
        listener.listen(_WAITING)
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


class Link:
    """A car's connection to one device of a world."""

    def __init__(self, path: Path, device: wire.Device, *, patience_s: float = _PATIENCE_S) -> None:
        """Open `device` of the world that listens at `path`.

        From then on nothing waits longer than `patience_s`.

        Raises:
            HardwareError: nobody listens there, or the device is not to be had.
        """
        self._socket = socket.socket(socket.AF_UNIX, _SOCKET)
        self._socket.settimeout(_PATIENCE_S)
        try:
            with _addressed(path) as address:
                self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise HardwareError(
                f"no world at {path} ({error.strerror or error}): start one with "
                f"`parkfleet sim world --listen {path}`"
            ) from None
        try:
            self.ask(wire.Open(device=device))
        except OSError as error:
            self._socket.close()
            raise HardwareError(f"the world at {path}: {device}: {error.strerror}") from None
        self._socket.settimeout(patience_s)

    def say(self, message: wire.ToWorld) -> None:
        """Send `message`; it is on its way when this returns, and nobody waited for it.

        Raises:
            OSError: the world is gone, or takes nothing any more.
        """
        try:
            self._socket.send(wire.encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            raise OSError(errno.EPIPE, _GONE) from None
        except (BlockingIOError, TimeoutError):
            self.shut()
            raise OSError(errno.ETIMEDOUT, "the world takes nothing any more") from None

    def hear(self) -> wire.FromWorld:
        """Return the next message.

        Raises:
            OSError: the world is gone, talks nonsense or does not answer.
        """
        try:
            packet = self._socket.recv(wire.PACKET_BYTES)
        except ConnectionResetError:
            raise OSError(errno.EPIPE, _GONE) from None
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, "the world does not answer") from None
        if not packet:
            raise OSError(errno.EPIPE, _GONE)
        try:
            return wire.from_world(packet)
        except RefusedError as error:
            self.close()
            raise OSError(errno.EPROTO, f"the world talks nonsense: {error}") from None

    def ask(self, message: wire.ToWorld) -> wire.FromWorld:
        """Return the answer to `message`.

        Raises:
            OSError: the world refused, with the reason's number, or as `say` and `hear`.
        """
        self.say(message)
        try:
            answer = self.hear()
        except OSError:
            self.close()
            raise
        if isinstance(answer, wire.Failed):
            raise OSError(answer.errno, answer.text)
        return answer

    def listen(self) -> None:
        """Be told rather than ask from now on: `hear` waits without end, `say` not at all."""
        self._socket.settimeout(None)

    def shut(self) -> None:
        """End the connection; whoever waits in `hear` wakes up."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # The other end was faster.

    def close(self) -> None:
        """End the connection and release it; closing again does nothing."""
        self._socket.close()


@contextmanager
def _addressed(path: Path) -> Iterator[str]:
    """Yield a socket address for `path`, which may be longer than the 107 bytes of an address."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _make_room(path: Path, address: str) -> None:
    if not path.is_socket():
        if path.exists():
            raise UsageError(f"cannot listen at {path}: something else lies there")
        return
    with socket.socket(socket.AF_UNIX, _SOCKET) as probe:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise UsageError(f"another world listens at {path}: end it, or choose another --listen")
