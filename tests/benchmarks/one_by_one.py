"""The reference's way: one HTTP request a picture, answered when it is stored.

    python -m tests.benchmarks.one_by_one PORT DATABASE

A server as small as it can be: a picture and its label come in by POST, are hashed, inserted and
committed in SQLite (WAL, synchronous=FULL). Nothing is signed, proven, validated or indexed; what
is given away against that is what sending pictures one by one costs. `send` is its client, as many
cars at once as it is told, each over one connection that is kept open.
"""

import http.client
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from uvicorn import Config, Server

from shared.ids import sha256_hex

_TABLE = "CREATE TABLE pictures (sha256 TEXT, label REAL, jpeg BLOB)"


def app(database: Path) -> FastAPI:
    """Return the server's application; it stores into `database`."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    for line in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", _TABLE):
        connection.execute(line)
    made = FastAPI()

    @made.post("/pictures", status_code=201)
    async def store(request: Request) -> dict[str, str]:
        jpeg = await request.body()
        label, digest = float(request.headers["x-label"]), sha256_hex(jpeg)
        connection.execute("INSERT INTO pictures VALUES (?, ?, ?)", (digest, label, jpeg))
        return {"sha256": digest}

    return made


def send(port: int, pictures: Sequence[bytes], cars: int) -> float:
    """Send `pictures`, shared among so many cars; return how many a second were stored."""
    shares = [pictures[number::cars] for number in range(cars)]
    threads = [threading.Thread(target=_drive, args=(port, share)) for share in shares]
    begun = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return len(pictures) / (time.perf_counter() - begun)


def _drive(port: int, pictures: Sequence[bytes]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number, jpeg in enumerate(pictures):
        connection.request("POST", "/pictures", jpeg, {"x-label": str(number)})
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.CREATED:
            raise RuntimeError(f"a picture was refused: {answer.status}")
    connection.close()


def main(arguments: list[str]) -> int:
    """Serve until a signal ends it."""
    port, database = int(arguments[0]), Path(arguments[1])
    Server(Config(app(database), host="127.0.0.1", port=port, log_level="error")).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
