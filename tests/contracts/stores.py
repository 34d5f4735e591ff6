"""Real stores for the storage suite: a PostgreSQL of our own, and moto's S3."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

_UNSAFE_BUT_FAST = ("fsync=off", "full_page_writes=off", "listen_addresses=", "max_connections=40")
_START_S = 60


@dataclass
class Cluster:
    """A running PostgreSQL that listens on a socket in its own folder."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, name: str) -> str:
        """Return the address of the database `name`, as an operator would set it."""
        return f"postgresql://fleet@/{name}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """Make a database, a copy of `template`; return its name."""
        name = f"fleet_{next(self.numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return name


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs; skip the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if on_path is None and not found:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    return Path(on_path).resolve().parent if on_path else found[-1].parent


@contextmanager
def postgresql() -> Iterator[Cluster]:
    """Run a cluster of its own, as another user where we are root, which it refuses to be."""
    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="parkfleet-pg-", dir="/tmp"))  # a socket's path is short
    run: dict[str, str | int] = {}
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        run = {"user": "postgres", "group": owner.pw_gid}
    data = str(folder / "data")
    initdb = [str(programs / "initdb"), "-D", data, "-U", "fleet", "--auth=trust", "--no-sync"]
    initdb += ["--encoding=UTF8", "--locale=C"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **run)  # type: ignore[call-overload]  # user and group by name
    words = [str(programs / "postgres"), "-D", data, "-k", str(folder)]
    words += [word for setting in _UNSAFE_BUT_FAST for word in ("-c", setting)]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, **run)  # type: ignore[call-overload]  # as above
    try:
        _wait(folder, server)
        yield Cluster(folder)
    finally:
        server.send_signal(signal.SIGINT)  # the fast shutdown, which waits for no client
        server.wait()
        log.close()
        shutil.rmtree(folder)


def _wait(folder: Path, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the server's socket answers."""
    ready = ["pg_isready", "-q", "-h", str(folder), "-U", "fleet", "-d", "postgres"]
    command = [shutil.which(ready[0]) or str(find_programs() / ready[0]), *ready[1:]]
    for _ in range(_START_S * 20):
        if subprocess.run(command, check=False).returncode == 0:
            return
        try:
            server.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError((folder / "log").read_text())


@dataclass
class Bucket:
    """A bucket of moto's S3."""

    endpoint: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def prefix(self) -> str:
        """Return the address of a part of the bucket that nobody has used."""
        return f"s3://fleet/{next(self.numbers)}"

    @property
    def environment(self) -> dict[str, str]:
        """What an operator sets so that the bucket is found and may be used."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ALLOW_HTTP": "true",
        }


@contextmanager
def s3() -> Iterator[Bucket]:
    """Run moto's S3 on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    from moto.server import ThreadedMotoServer  # Only who needs it waits for it to load.

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{port}"
        made = urllib.request.Request(f"{endpoint}/fleet", method="PUT")  # noqa: S310 - our own address
        urllib.request.urlopen(made).close()  # noqa: S310 - as above
        yield Bucket(endpoint)
    finally:
        server.stop()
