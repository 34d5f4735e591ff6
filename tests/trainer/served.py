"""The server's double on a real socket, for workers that are processes of their own."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import msgspec

from tests.trainer.server_double import TOKEN, ServerDouble
from tests.trainer.shop import ANY, HARDLY

Watch = Callable[[str, str, bytes], None]
"""Told of each request once it has been answered for, and before the answer is sent."""


@contextmanager
def served(double: ServerDouble, watch: Watch) -> Iterator[str]:
    """Serve `double` on this machine; yield its address."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = httpx2.Request(
                self.command,
                f"http://server.test{self.path}",
                headers=self._headers(),
                content=body,
            )
            with lock:
                answer = double.answer(request)
                watch(self.command, self.path, body)
            self.send_response(answer.status_code)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def _headers(self) -> list[tuple[str, str]]:
            return [(name, value) for name, value in self.headers.items() if name != "Host"]

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        do_GET = do_POST = do_PUT = _any  # noqa: N815 - the library's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Worker:
    """`parkfleet trainer work --once` on a folder, again and again."""

    state: Path
    url: str
    process: subprocess.Popen[bytes] | None = None

    def prepare(self, key: bytes) -> None:
        """Lay out what it needs."""
        (self.state / "keys").mkdir(parents=True)
        (self.state / "keys" / "release.key").write_bytes(key)
        (self.state / "token").write_text(TOKEN)
        (self.state / "settings.toml").write_bytes(_toml(msgspec.to_builtins(HARDLY)))
        (self.state / "gates.toml").write_bytes(_toml(msgspec.to_builtins(ANY)))

    def run(self) -> int:
        """Run it to its end, or to the kill; return its exit code."""
        words = ["trainer", "work", "--server", self.url, "--state", str(self.state), "--once"]
        words += ["--token-file", str(self.state / "token")]
        words += ["--settings", str(self.state / "settings.toml")]
        words += ["--gates", str(self.state / "gates.toml")]
        with (self.state / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shared", *words], stdout=log, stderr=log
            )
            return self.process.wait(timeout=240)

    def kill(self) -> None:
        """Kill it where it stands."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)


def _toml(values: dict[str, object]) -> bytes:
    lines = (f"{name} = {msgspec.json.encode(value).decode()}" for name, value in values.items())
    return "\n".join(lines).encode()
