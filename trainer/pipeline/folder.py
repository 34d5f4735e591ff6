"""A run's folder: what every step made, kept whole or not at all.

Law: a file that bears its name is complete, after a power cut too.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.ids import sha256_hex

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; `keep` creates it."""

    path: Path

    def keep(self, name: str, content: bytes) -> Path:
        """Write `content` under `name` (slashes make folders) and return its path.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        path = self.path / name
        temporary = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise RetryLaterError(f"cannot write {path}: {error.strerror}") from None
        return path

    def keep_json(self, name: str, content: object) -> Path:
        """Write `content` as indented JSON under `name`.

        Raises:
            RetryLaterError: the disk is full or fails.
        """
        return self.keep(name, msgspec.json.format(msgspec.json.encode(content, order="sorted")))

    def read(self, name: str) -> bytes:
        """Return what was kept under `name`.

        Raises:
            UsageError: there is no such file.
        """
        path = self.path / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"cannot read {path}: {error.strerror}; the step that makes it has not run"
            ) from None

    def read_json(self, name: str, shape: type[T]) -> T:
        """Return what was kept as JSON under `name`.

        Raises:
            UsageError: there is no such file.
            RefusedError: it is damaged, or another version's.
        """
        try:
            return msgspec.json.decode(self.read(name), type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RefusedError(f"{self.path / name} is damaged: {error}"[:300]) from None

    def has(self, name: str) -> bool:
        """Tell whether something is kept under `name`."""
        return (self.path / name).is_file()

    def digest(self, name: str) -> str:
        """Return the SHA-256 of what is kept under `name`.

        Raises:
            UsageError: there is no such file.
        """
        return sha256_hex(self.read(name))
