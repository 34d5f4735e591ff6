"""Where the repository's files lie: a port of four methods, and a folder behind it.

Laws:
- `write` is atomic and durable: after a power cut a file is whole, the old one or the new one;
- a name is relative, with `/` between its parts, and is made by us, never by a sender;
- `lock` keeps writers apart, in this process and in others; readers need none, since no file that
  they can reach ever changes but `timestamp.json`.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from shared.errors import RetryLaterError


class Store(Protocol):
    """What the online repository needs of a disk."""

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None where there is no such file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in `folder`, without it."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Keep other writers out for the length of a `with` block."""
        ...


class FolderStore:
    """A `Store` in one folder of the file system."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which is created by the first write."""
        self.folder = folder

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None where there is no such file.

        Raises:
            RetryLaterError: the disk does not let us read it.
        """
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RetryLaterError(f"cannot read {self.folder / name}: {error.strerror}") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file; it is on the disk, under its name, when this returns.

        Raises:
            RetryLaterError: the disk is full or does not let us write.
        """
        path = self.folder / name
        temporary = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise RetryLaterError(f"cannot write {path}: {error.strerror}") from None

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in `folder`, without it; none where it is missing."""
        try:
            return sorted(entry.name for entry in (self.folder / folder).iterdir())
        except FileNotFoundError:
            return []

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out for the length of a `with` block; waits for them.

        Raises:
            RetryLaterError: the disk is full or does not let us write.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RetryLaterError(f"cannot lock {self.folder}: {error.strerror}") from None
        try:
            # Belongs to this open file, so that two threads exclude each other as well.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
