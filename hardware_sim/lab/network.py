"""A cable that can be pulled: a TCP relay between a car and its broker.

Laws:
- while cut, every connection is closed and none gets through: to the car the network is gone;
- bytes are passed on in order and unchanged; nothing is kept across a cut, as on a real line.
"""

import asyncio
import threading
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 64 * 1024


class Cable:
    """A relay from a free loopback port (`port`) to `target_port`; runs in a thread of its own."""

    def __init__(self, target_port: int, *, host: str = "127.0.0.1") -> None:
        """Lay a cable to `target_port`; it is connected until `cut`."""
        self._target = (host, target_port)
        self._host = host
        self._is_cut = False
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        """Begin to listen; `port` is known from here on."""
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def is_cut(self) -> bool:
        """Tell whether the cable is pulled."""
        return self._is_cut

    def cut(self) -> None:
        """Pull the cable: open connections break, new ones find nobody."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._drop_lines)

    def restore(self) -> None:
        """Plug the cable in again."""
        self._is_cut = False

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, self._host, 0)

    async def _close(self) -> None:
        self._server.close()
        # Broken lines end their own tasks; asyncio would log a cancelled one as an error.
        self._drop_lines()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _drop_lines(self) -> None:
        for writer in self._lines:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._lines |= {writer, far_writer}
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._lines -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        # A broken line is what this room is for: both ends see it, nobody needs to be told here.
        pass
    finally:
        writer.transport.abort()
