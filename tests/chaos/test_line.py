"""A line hands on every byte in order, whatever its weather, or the connection ends."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.chaos.line import CALM, Line, Weather

WAIT_S = 10.0
SAID = random.Random(3).randbytes(20_000)


@contextmanager
def echo() -> Iterator[int]:
    """Give the port of a server that says back what it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(peer: socket.socket) -> None:
        with suppress(OSError), peer:
            while data := peer.recv(4096):
                peer.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.close()


@contextmanager
def called(weather: Weather, *, seed: int = 1) -> Iterator[tuple[Line, socket.socket]]:
    """Give a line with that weather, and a connection over it."""
    with echo() as port, Line(port, seed=seed) as line:
        line.weather = weather
        with socket.create_connection(("127.0.0.1", line.port), timeout=WAIT_S) as peer:
            yield line, peer


def heard(peer: socket.socket, size: int) -> bytes:
    """Return what comes back, up to `size` bytes or the end."""
    found = b""
    with suppress(ConnectionError):
        while len(found) < size and (data := peer.recv(65536)):
            found += data
    return found


@pytest.mark.parametrize(
    "weather",
    [CALM, Weather(bytes_per_s=1e6), Weather(delay_s=0.02), Weather(loss=0.01)],
    ids=["calm", "slow", "late", "lossy"],
)
def test_every_byte_passes_in_order(weather: Weather) -> None:
    with called(weather) as (line, peer):
        peer.sendall(SAID)
        assert heard(peer, len(SAID)) == SAID
        assert (line.told.bytes_up, line.told.bytes_down) == (len(SAID), len(SAID))


def test_a_connection_that_is_reset_brought_the_beginning_of_what_was_said() -> None:
    with called(Weather(reset_bytes=15_000)) as (line, peer):
        with suppress(ConnectionError):
            peer.sendall(SAID)
        came = heard(peer, len(SAID))
        assert SAID.startswith(came)
        assert len(came) < 15_000
        assert line.told.resets == 1


def test_a_dumb_connection_says_nothing_and_stays_open_in_better_weather() -> None:
    with called(Weather(dumb_s=1e-9)) as (line, peer):
        peer.sendall(SAID)
        peer.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.recv(1)
        line.weather = CALM
        with pytest.raises(TimeoutError):
            peer.recv(1)
        assert line.told.dumb == 1


def test_a_segment_that_is_always_lost_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.line._FIRST_TIMEOUT_S", 0.0001)
    with called(Weather(loss=1.0)) as (line, peer):
        peer.sendall(b"hello")
        assert heard(peer, 5) == b""
        assert line.told.given_up == 1


def test_where_nobody_listens_the_connection_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    with Line(port) as line, socket.create_connection(("127.0.0.1", line.port)) as peer:
        assert heard(peer, 1) == b""
