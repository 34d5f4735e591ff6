"""A run's folder: what every step produced, kept whole or not at all.

Law: a file that bears its name is complete, after a power cut too.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shared.errors import RetryLaterError


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
