"""What the laboratory's client makes of a server's answers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hardware_sim.lab.rest import Server
from shared.errors import RefusedError, UsageError


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    """Yield the address of a server that gives one answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"title": "No valid token", "detail": "send a token"}', "401 send a token"),
        (b"<html>a proxy</html>", "401 <html>a proxy</html>"),
        (b'["no problem"]', '401 ["no problem"]'),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(body: bytes, said: str) -> None:
    with _answering(401, body) as url:
        server = Server(url, "token")
        with pytest.raises(RefusedError) as raised:
            server.get("devices")
        server.close()
    assert str(raised.value) == f"GET devices: {said}"


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://host", "http://"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(UsageError, match="is no address of a server"):
        Server(url)
