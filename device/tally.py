"""How many pairs each boot was given to store: a witness that a full disk and SIGKILL leave alone.

Laws:
- the file has its full size from the day it is made and is written in place, so that a disk which
  fills up later has room for it;
- a boot stays in it until the journal has accounted for it (`device.journal.counts`);
- it is a witness and no proof: what cannot be read or written costs a count that somebody may miss,
  never a pair, and nothing is counted that was not lost. It is not forced to the disk, so a power
  cut may leave it behind the journal;
- beyond `MOST_BOOTS` that nobody accounted for, the oldest is forgotten, and the log says so.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from shared.ids import BootId
from shared.samples import Count

_log = logging.getLogger(__name__)

MOST_BOOTS: Final = 64
_SIZE_BYTES: Final = 4096
_Given = Annotated[dict[BootId, Count], msgspec.Meta(max_length=MOST_BOOTS)]


class Tally:
    """The open file; belongs to one thread."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, made where it is missing and the disk has room for it."""
        self._given: dict[str, int] = {}
        self._trouble = ""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._file = -1
            self._note_trouble(error)
            return
        self._given = _read(self._file)
        self._write()

    @property
    def is_open(self) -> bool:
        """Whether the file can be read: what boots were given is known, and is not nothing."""
        return self._file >= 0

    def earlier(self, boot: str) -> Mapping[str, int]:
        """Return what boots before `boot` were given, as far as that is not settled.

        Those that count as later are another journal's, which somebody took away.
        """
        return {other: given for other, given in self._given.items() if other < boot}

    def note(self, boot: str, given: int) -> None:
        """Say that `boot` was given so many pairs by now."""
        self._given[boot] = given
        while len(self._given) > MOST_BOOTS:
            oldest = min(self._given)
            _log.warning("boot_not_accounted_for boot=%s pairs=%d", oldest, self._given.pop(oldest))
        self._write()

    def settle(self, boot: str) -> None:
        """Forget all other boots than `boot`: the journal has accounted for them."""
        self._given = {boot: self._given[boot]} if boot in self._given else {}
        self._write()

    def close(self) -> None:
        """Close the file; what was said stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self) -> None:
        if self._file < 0:
            return
        try:
            os.pwrite(self._file, msgspec.json.encode(self._given).ljust(_SIZE_BYTES), 0)
        except OSError as error:
            self._note_trouble(error)
        else:
            self._trouble = ""

    def _note_trouble(self, error: OSError) -> None:
        trouble = error.strerror or "unknown"
        if trouble != self._trouble:
            _log.warning("tally_not_written error=%s", trouble)
        self._trouble = trouble


def _read(file: int) -> dict[str, int]:
    try:
        text = os.pread(file, _SIZE_BYTES, 0).strip()
        return msgspec.json.decode(text, type=_Given) if text else {}
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("tally_unreadable error=%s", error)
        return {}
