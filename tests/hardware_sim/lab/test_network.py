"""The cable between a car and its broker."""

import socket
import threading
from collections.abc import Iterator

import pytest

from hardware_sim.lab.network import Cable


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back whatever it gets, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        while data := connection.recv(65536):
                            connection.sendall(data)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            break
        data += part
    return data


def test_bytes_pass_in_order_and_unchanged(echo_port: int) -> None:
    sent = bytes(range(256)) * 2000
    with Cable(echo_port) as cable, socket.create_connection(("127.0.0.1", cable.port), 5) as line:
        line.settimeout(5)
        sender = threading.Thread(target=line.sendall, args=(sent,))
        sender.start()
        assert _read(line, len(sent)) == sent
        sender.join()


def test_a_cut_breaks_what_is_open_and_lets_nothing_new_through(echo_port: int) -> None:
    with Cable(echo_port) as cable, socket.create_connection(("127.0.0.1", cable.port), 5) as line:
        line.settimeout(5)
        line.sendall(b"before")
        assert _read(line, 6) == b"before"
        cable.cut()
        assert _refused(line)
        with socket.create_connection(("127.0.0.1", cable.port), 5) as second:
            second.settimeout(5)
            assert _refused(second)


def test_a_restored_cable_carries_again(echo_port: int) -> None:
    with Cable(echo_port) as cable:
        cable.cut()
        cable.restore()
        with socket.create_connection(("127.0.0.1", cable.port), 5) as line:
            line.settimeout(5)
            line.sendall(b"after")
            assert _read(line, 5) == b"after"


def test_a_cable_to_nobody_closes_what_comes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = probe.getsockname()[1]
    with Cable(nobody) as cable, socket.create_connection(("127.0.0.1", cable.port), 5) as line:
        line.settimeout(5)
        assert _refused(line)


def _refused(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True
