"""A world at the pace of this machine's clock, served to cars in other processes.

Laws:
- the world's time is the machine's monotonic time, which every process here shares: a car's clock
  and the stamps of its pictures agree as they do on a Pi, and nothing has to be translated;
- a world that fell behind (a busy machine) catches up step by step, and answers meanwhile;
- who is gone is gone before anybody else is answered: the kernel frees a dead process's pins before
  `wait` returns, so its supervisor must find them free;
- nothing waits for a car: what its socket does not take at once is lost, and a car that breaks the
  protocol, or reads no answers, is hung up on.
"""

import errno
import logging
import selectors
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from hardware_sim.apart import wire
from hardware_sim.apart.sessions import SESSIONS, Hardware, Session
from hardware_sim.world import STEP_US
from shared.clock import Clock
from shared.errors import RefusedError

_log = logging.getLogger(__name__)

_REQUEST_BYTES: Final = 2_048
_MOST_AT_ONCE: Final = 1_000
"""More packets than a socket's buffer holds."""

_MOST_PEERS: Final = 32
_CATCH_UP_STEPS: Final = 50


class _Peer:
    """One connection, to one device."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.device: wire.Device | None = None
        self.session: Session | None = None
        self.waiting: list[bytes] = []
        self.is_gone = False

    def drain(self) -> None:
        """Take all packets that are there, and see whether this was the end."""
        for _ in range(_MOST_AT_ONCE):
            try:
                packet = self.link.recv(_REQUEST_BYTES + 1)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # Dead with answers unread; what it had sent before still lies there.
                continue
            if not packet:
                break
            self.waiting.append(packet)
        self.is_gone = True

    def send(self, message: wire.FromWorld) -> bool:
        """Send `message` now or not at all; tell whether it was."""
        try:
            self.link.send(wire.encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return False  # Full, or gone: that is seen when it is read from.
        return True


class WorldServer:
    """The cars' way into one world."""

    def __init__(self, hardware: Hardware, clock: Clock, listener: socket.socket) -> None:
        """Serve `hardware` on `listener`; the world's present is that of `clock`."""
        self._hardware, self._clock, self._listener = hardware, clock, listener
        self._selector = selectors.DefaultSelector()
        self._peers: list[_Peer] = []

    def run(self, stop: Callable[[], bool]) -> None:
        """Let the world go on until `stop()`; then hang up on everybody.

        Raises:
            UsageError: a person in the world has wrong orders.
        """
        self._selector.register(self._listener, selectors.EVENT_READ)
        try:
            while not stop():
                self._advance()
                ahead_us = self._hardware.world.now_us + STEP_US - self._clock.monotonic_us()
                self._serve({key.data for key, _ in self._selector.select(max(ahead_us, 0) / 1e6)})
        finally:
            for peer in tuple(self._peers):
                self._hang_up(peer)
            self._selector.close()

    def _advance(self) -> None:
        world = self._hardware.world
        for _ in range(_CATCH_UP_STEPS):
            if world.now_us + STEP_US > self._clock.monotonic_us():
                break
            world.step()
        for peer in self._peers:
            if peer.session is not None:
                peer.session.stepped()

    def _serve(self, ready: set[_Peer | None]) -> None:
        if None in ready:
            self._accept()
        talking = [peer for peer in self._peers if peer in ready]
        for peer in talking:
            peer.drain()
        for peer in sorted(talking, key=lambda peer: not peer.is_gone):
            try:
                for packet in peer.waiting:
                    self._answer(peer, packet)
            except RefusedError as error:
                _log.warning("peer_refused device=%s error=%s", peer.device, error)
                peer.is_gone = True
            peer.waiting.clear()
            if peer.is_gone:
                self._hang_up(peer)

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return  # It was gone before it was let in.
        if len(self._peers) >= _MOST_PEERS:
            _log.warning("too_many_peers")
            link.close()
            return
        link.setblocking(False)
        peer = _Peer(link)
        self._peers.append(peer)
        self._selector.register(link, selectors.EVENT_READ, peer)

    def _answer(self, peer: _Peer, packet: bytes) -> None:
        if len(packet) > _REQUEST_BYTES:
            raise RefusedError(f"a packet of more than {_REQUEST_BYTES} bytes")
        message = wire.to_world(packet)
        answer = self._open(peer, message) if peer.session is None else peer.session.take(message)
        # Who does not read answers would take the next one for this one.
        if answer is not None and not peer.send(answer) and not peer.is_gone:
            raise RefusedError("answers are not read")

    def _open(self, peer: _Peer, message: wire.ToWorld) -> wire.FromWorld:
        if not isinstance(message, wire.Open):
            raise RefusedError(f"{type(message).__name__} before a device was opened")
        taken = {other.device for other in self._peers if other is not peer}
        if message.device == "camera" and message.device in taken:
            return wire.Failed(errno=errno.EBUSY, text="another process has the camera")
        peer.device = message.device
        peer.session = SESSIONS[message.device](self._hardware, partial(_Peer.send, peer))
        _log.info("device_opened device=%s", message.device)
        return wire.Done()

    def _hang_up(self, peer: _Peer) -> None:
        self._selector.unregister(peer.link)
        self._peers.remove(peer)
        peer.link.close()
        if peer.session is not None:
            peer.session.gone()
            _log.info("device_closed device=%s", peer.device)
