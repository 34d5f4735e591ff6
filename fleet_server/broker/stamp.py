"""Tells whether a file was replaced since somebody last looked."""

from pathlib import Path


class Stamp:
    """Tells whether a file was replaced."""

    def __init__(self, path: Path) -> None:
        """Take the file for new at the first look."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def is_new(self) -> bool:
        """Tell whether the file is another than at the last call."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            stamp = (0, 0, 0)
        is_new = stamp != self._seen
        self._seen = stamp
        return is_new
