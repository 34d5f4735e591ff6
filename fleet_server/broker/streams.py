"""Byte streams with limits, between a TCP socket and amqtt.

Laws:
- nobody makes the broker hold more than one packet of `PACKET_LIMIT_BYTES` for a reading, and
  whoever has not said who it is no field above `FIRST_PACKET_LIMIT_BYTES`;
- a peer that neither sends nor takes a byte for `idle_s` is gone; progress, however slow, is life;
- closing never waits for a dead peer.

amqtt 0.12 has none of these: it reads whatever length a packet claims, from anyone; a peer that
fell silent stays connected for ever, so its last will is never said; and closing waits until all
that was written has left.
"""

import asyncio
import ssl

from amqtt.adapters import ReaderAdapter, WriterAdapter

from shared import topics

PACKET_LIMIT_BYTES = max(row.limit_bytes for row in topics.TABLE) + 1024
"""The largest payload of the topic table, with room for its topic and headers."""

FIRST_PACKET_LIMIT_BYTES = 8 * 1024
"""A CONNECT holds a name, a secret and at most a last will, a presence of 1 KiB."""

FIRST_PACKET_S = 10.0
"""How long a peer may take to say who it is."""

_PIECE_BYTES = 16 * 1024
_CLOSE_S = 2.0


class BoundedReader(ReaderAdapter):  # type: ignore[misc] # amqtt ships no types
    """The reading half of a connection. A broken law ends it, as if the peer had hung up."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        """Read from `stream`; both limits may be changed once the peer has said who it is."""
        self._stream = stream
        self._ended = False
        self.idle_s = FIRST_PACKET_S
        self.limit_bytes = FIRST_PACKET_LIMIT_BYTES

    async def read(self, n: int = -1) -> bytes:
        """Return exactly `n` bytes.

        Raises:
            ConnectionResetError: the peer is gone, silent, or wants more than the limit.
        """
        if self._ended or not 0 <= n <= self.limit_bytes:
            self._ended = True
            raise ConnectionResetError("connection ended")
        pieces: list[bytes] = []
        missing = n
        while missing:
            piece = await self._piece(min(missing, _PIECE_BYTES))
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    async def _piece(self, most: int) -> bytes:
        try:
            async with asyncio.timeout(self.idle_s):
                piece = await self._stream.read(most)
        except (TimeoutError, OSError):
            piece = b""
        if not piece:
            self._ended = True
            raise ConnectionResetError("connection ended")
        return piece

    def feed_eof(self) -> None:
        """End the stream from our side."""
        self._ended = True
        self._stream.feed_eof()


class BoundedWriter(WriterAdapter):  # type: ignore[misc] # amqtt ships no types
    """The writing half of a connection."""

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        """Write to `stream`; `idle_s` bounds how long a peer may refuse to take anything."""
        self._stream = stream
        self._closed = False
        self.idle_s = FIRST_PACKET_S

    def write(self, data: bytes) -> None:
        """Queue `data`; nothing happens on a closed stream."""
        if not self._closed:
            self._stream.write(data)

    async def drain(self) -> None:
        """Wait until the peer has taken enough for more to be queued.

        Raises:
            ConnectionResetError: it took nothing for too long; the connection is closed.
        """
        if self._closed:
            return
        try:
            async with asyncio.timeout(self.idle_s):
                await self._stream.drain()
        except (TimeoutError, OSError):
            self._closed = True
            self._stream.transport.abort()
            raise ConnectionResetError("the peer takes nothing") from None

    def get_peer_info(self) -> tuple[str, int] | None:
        """Return the peer's address and port."""
        peer = self._stream.get_extra_info("peername")
        return (str(peer[0]), int(peer[1])) if peer else None

    def get_ssl_info(self) -> ssl.SSLObject | None:
        """Return the connection's TLS state, if it has one."""
        found = self._stream.get_extra_info("ssl_object")
        return found if isinstance(found, ssl.SSLObject) else None

    async def close(self) -> None:
        """Send what is queued, if the peer takes it soon, and close."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(_CLOSE_S):
                self._stream.close()
                await self._stream.wait_closed()
        except (TimeoutError, OSError):
            self._stream.transport.abort()
