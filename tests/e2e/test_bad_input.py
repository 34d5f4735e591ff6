"""A mistake of a person: one line that says what and what to do, exit code 2, no traceback."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

_BROKEN_SCENE = "[floor]\ncolour = 'no colour'\n"


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shared", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=60,
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _assert_one_line(done: subprocess.CompletedProcess[str], *, names: str) -> None:
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("parkfleet: ")
    assert re.search(names, lines[0]), lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("parc", "parc"),
        ("demo --port 99999", "99999"),
        ("demo --speed 0", "speed"),
        ("demo --state file", "file"),
        ("demo --out file/below", "file"),
        ("server --state file", "file"),
        ("server --role king", "king"),
        ("server --port 0", "--port.*1<=x<=65535"),
        ("broker run --state file", "file"),
        ("broker run --port x", "x"),
        ("token create --state nowhere --role operator --name a", "nowhere"),
        ("token create --state . --role king --name a", "king"),
        ("device status --home nowhere", "nowhere"),
        ("device agent --home nowhere", "nowhere"),
        ("device drive --home home --backend nosuch", "nosuch"),
        ("device drive --home home --backend pi", "pi"),
        ("device enrol --home home --server http://127.0.0.1:1 --name Car --code x", "Car"),
        ("device enrol --home home --server nonsense --name car-1 --code x", "nonsense"),
        ("sim render --scene nosuch --out a.png", "nosuch"),
        ("sim render --scene broken.toml --out a.png", "broken.toml"),
        ("sim render --scene file --out a.png", "file"),
        ("sim car --home home --script nowhere.toml", "nowhere.toml"),
        ("sim car --home home --script broken.toml", "broken.toml"),
        ("trainer work --server http://127.0.0.1:1 --token-file nowhere --state t", "nowhere"),
        ("trainer run --data nowhere --out o", "nowhere"),
        (
            "releases init --owner o --server-state s --trainer file --trainer-name trainer-1",
            "file",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, command: str, names: str) -> None:
    (tmp_path / "file").write_text("not a folder, not a scene: = =")
    (tmp_path / "broken.toml").write_text(_BROKEN_SCENE)
    before = sorted(tmp_path.iterdir())
    _assert_one_line(_run(*command.split(), cwd=tmp_path), names=names)
    litter = {path.name for path in tmp_path.iterdir()} - {path.name for path in before}
    assert litter <= {"var", "out", "home", "o", "s", "t"}


@pytest.mark.parametrize("command", ["demo --exit", "server --state s", "broker run --state s"])
def test_a_port_in_use_is_named_in_one_line(tmp_path: Path, command: str, taken_port: int) -> None:
    done = _run(*command.split(), "--port", str(taken_port), cwd=tmp_path)
    _assert_one_line(done, names=f"{taken_port}.*in use")


@pytest.mark.parametrize(
    "verb", ["", "demo", "server", "broker", "token", "device", "sim", "trainer", "releases"]
)
def test_help_shows_an_example(tmp_path: Path, verb: str) -> None:
    done = _run(*verb.split(), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_ctrl_c_and_sigterm_end_everything_and_leave_a_state_that_starts_again(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "shared", "demo", "--exit", "--port", "0"]
    for number in (signal.SIGINT, signal.SIGTERM):
        demo = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert demo.stdout is not None
        assert "enrol and start" in "".join(demo.stdout.readline() for _ in range(2))
        children = _children(demo.pid)
        assert len(children) >= 7
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=60)
        assert demo.returncode == 130, errors
        assert "Traceback" not in errors
        assert not [pid for pid in children if _runs(pid)]


def _runs(pid: int) -> bool:
    """Say whether the process still runs; one that ended may wait for its adopter to notice."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == parent and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
