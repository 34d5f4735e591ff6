"""The folder behind the repository."""

import threading
from pathlib import Path

import pytest

from fleet_server.releases.store import FolderStore
from shared.errors import RetryLaterError


def test_what_is_written_is_read_back_and_replaces_what_was(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "new")
    assert store.read("a/b") is None
    assert store.names("a") == []
    store.write("a/b", b"one")
    store.write("a/b", b"two")
    assert (store.read("a/b"), store.names("a")) == (b"two", ["b"])


def test_an_unusable_disk_is_a_passing_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FolderStore(tmp_path / "file")
    with pytest.raises(RetryLaterError, match="cannot write"):
        store.write("a", b"")
    with pytest.raises(RetryLaterError, match="cannot read"):
        store.read("a")
    with pytest.raises(RetryLaterError, match="cannot lock"), store.lock():
        pass


def test_two_writers_take_turns(tmp_path: Path) -> None:
    inside: list[str] = []
    entered = threading.Event()

    def other() -> None:
        entered.set()
        with FolderStore(tmp_path).lock():
            inside.append("other")

    with FolderStore(tmp_path).lock():
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait()
        inside.append("first")
    thread.join()
    assert inside == ["first", "other"]
