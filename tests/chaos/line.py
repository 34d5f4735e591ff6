"""A faulty line between a client and its broker: a TCP relay with weather.

Laws:
- a stream loses no bytes and keeps their order: what the weather takes is time, or the connection.
  A lost segment is one that comes after TCP's own time-out; a line that loses too many in a row is
  dead, and is cut;
- weather changes while connections are open, and counts from the next segment on; a connection that
  went dumb stays dumb, since nobody tells its ends that the weather is better;
- whatever is random comes from the seed;
- what a `Tap` returns is handed on in place of what it was given; None cuts the connection.

One thread runs all connections of a line.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Protocol, Self

SEGMENT_BYTES: Final = 1460
"""What a segment of TCP carries over Ethernet."""

_FIRST_TIMEOUT_S: Final = 0.2
_MOST_LOST: Final = 8
"""TCP's least retransmission time-out, doubled with each loss of the same segment (RFC 6298, as
Linux has it); after so many losses in a row this line gives up."""

_HELD: Final = 64
"""How many segments one direction of a connection holds: a socket's buffer, too, ends somewhere."""

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: the connection ends with RST."""

Direction = Literal["up", "down"]


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What a line does to what it carries; as given here, nothing.

    `loss` is the share of segments that get lost on the way, `delay_s` how long each takes one way,
    `bytes_per_s` what one direction of a connection carries. `reset_bytes`: each connection is
    reset after so many bytes upwards at most. `dumb_s`: each connection goes silent after so many
    seconds at most, and neither end is told.
    """

    loss: float = 0.0
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    reset_bytes: int = 0
    dumb_s: float = 0.0


CALM: Final = Weather()


class Tap(Protocol):
    """Sees one direction of one connection."""

    def pass_on(self, data: bytes) -> bytes | None:
        """Return what is handed on for `data`; None cuts the connection."""
        ...

    def passed(self, data: bytes) -> None:
        """Hear what was handed on."""
        ...


@dataclass
class Told:
    """What a line did: connections taken, cut by the weather, gone dumb; segments lost; bytes."""

    connections: int = 0
    resets: int = 0
    dumb: int = 0
    lost: int = 0
    given_up: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class Line:
    """Relays from a free loopback port (`port`) to `target_port`, from the start until `close`."""

    def __init__(
        self,
        target_port: int,
        *,
        seed: int = 0,
        tap: Callable[[Direction], Tap] | None = None,
        calm_bytes: int = 64 * 1024,
    ) -> None:
        """Listen from now on.

        `tap` makes what sees each direction of each new connection; while the line is calm, at most
        `calm_bytes` are handed on at once.
        """
        self.weather = CALM
        self.told = Told()
        self.calm_bytes = calm_bytes
        self._target_port, self.tap = target_port, tap
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port = int(self._server.sockets[0].getsockname()[1])

    def __enter__(self) -> Self:
        """Return the line."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def cut(self) -> None:
        """Reset every open connection."""
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Take no more connections, and end those that are open."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        for writer in self._open:
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        self.told.connections += 1
        ends = {writer, far_writer}
        self._open |= ends
        call = _Call(self, self._rng)
        pumps = (
            call.pump("up", reader, far_writer, self.tap and self.tap("up")),
            call.pump("down", far_reader, writer, self.tap and self.tap("down")),
        )
        tasks = [self._loop.create_task(each) for each in pumps]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if call.is_dumb:  # Each end must find out by itself.
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)
            self._open -= ends
            for each in ends:
                _reset(each) if call.is_reset else each.transport.abort()


class _CutError(Exception):
    """The weather or a tap has cut the connection."""


class _Call:
    """One connection over a line."""

    def __init__(self, line: Line, rng: random.Random) -> None:
        self._line, self._rng = line, rng
        self._reset_share, self._dumb_share = rng.random(), rng.random()
        self._up_bytes = 0
        self._begun_s = asyncio.get_running_loop().time()
        self.is_dumb = self.is_reset = False

    async def pump(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tap: Tap | None,
    ) -> None:
        """Hand on one direction until it ends; ends by itself where the connection does."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD)
        reads = asyncio.get_running_loop().create_task(self._read(reader, held))
        try:
            while True:
                due_s, data = await held.get()
                if not data:
                    break
                await self._travel(due_s, len(data))
                if not self.is_dumb:
                    await self._hand_on(direction, writer, data, tap)
        except (OSError, _CutError):
            # A broken line is what this room is for.
            pass
        finally:
            reads.cancel()

    async def _read(
        self, reader: asyncio.StreamReader, held: "asyncio.Queue[tuple[float, bytes]]"
    ) -> None:
        loop, line = asyncio.get_running_loop(), self._line
        data = b"-"
        while data:
            most = line.calm_bytes if line.weather == CALM else SEGMENT_BYTES
            try:
                data = await reader.read(most)
            except OSError:
                data = b""
            await held.put((loop.time() + line.weather.delay_s, data))

    async def _travel(self, due_s: float, size_bytes: int) -> None:
        """Take the time that the way takes."""
        loop, weather = asyncio.get_running_loop(), self._line.weather
        if (early_s := due_s - loop.time()) > 0:
            await asyncio.sleep(early_s)
        if weather.bytes_per_s:
            await asyncio.sleep(size_bytes / weather.bytes_per_s)
        timeout_s, lost = _FIRST_TIMEOUT_S, 0
        while self._rng.random() < self._line.weather.loss:
            self._line.told.lost += 1
            lost += 1
            if lost == _MOST_LOST:
                self._line.told.given_up += 1
                self.is_reset = True
                raise _CutError
            await asyncio.sleep(timeout_s)
            timeout_s *= 2
        if weather.dumb_s and not self.is_dumb:
            age_s = loop.time() - self._begun_s
            self.is_dumb = age_s > weather.dumb_s * self._dumb_share
            self._line.told.dumb += self.is_dumb

    async def _hand_on(
        self, direction: Direction, writer: asyncio.StreamWriter, data: bytes, tap: Tap | None
    ) -> None:
        self._perhaps_reset(direction, len(data))
        given = data if tap is None else tap.pass_on(data)
        if given is None:
            raise _CutError
        told = self._line.told
        if direction == "up":
            told.bytes_up += len(given)
        else:
            told.bytes_down += len(given)
        writer.write(given)
        await writer.drain()
        if tap is not None:
            tap.passed(given)

    def _perhaps_reset(self, direction: Direction, size_bytes: int) -> None:
        self._up_bytes += size_bytes if direction == "up" else 0
        most = self._line.weather.reset_bytes
        if most and self._up_bytes > most * self._reset_share:
            self._line.told.resets += 1
            self.is_reset = True
            raise _CutError


def _reset(writer: asyncio.StreamWriter) -> None:
    peer: socket.socket | None = writer.get_extra_info("socket")
    if peer is not None and peer.fileno() >= 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
