"""The journal's single rows: what the server wants, how far an update is, what drive is doing.

Laws:
- each is replaced as a whole, in one transaction;
- a start of drive that was not preceded by an orderly end is counted, in the transaction that
  numbers it.
"""

import logging
from typing import Literal

import msgspec

from device.journal.file import JournalFile
from device.journal.records import DriveState, to_desired
from shared.errors import RefusedError
from shared.messages import Desired

logger = logging.getLogger(__name__)

OFF = "off"
"""What drive says that it is doing when it ends in order."""

_RUNNING = "drive_runs"
_UNCLEAN = "unclean_starts"


class StateTables(JournalFile):
    """The single rows of an open journal."""

    def desired(self) -> Desired | None:
        """Return what the server last wanted, or None before it ever spoke.

        A wish that cannot be read is None too: the server says it again at every connection.
        """
        body = self._body("desired")
        try:
            return None if body is None else to_desired(body)
        except RefusedError as error:
            logger.warning("wish_unreadable reason=%s", error)
            return None

    def set_desired(self, desired: Desired) -> None:
        """Put `desired` in force."""
        self._set_body("desired", msgspec.msgpack.encode(desired))

    def update_state(self) -> bytes | None:
        """Return the saved state of the model update, or None."""
        return self._body("update")

    def set_update_state(self, body: bytes) -> None:
        """Save the state of the model update."""
        self._set_body("update", body)

    def drive_state(self) -> DriveState | None:
        """Return what drive last said of itself, or None before it ever ran."""
        with self.reading():
            row = self.db.execute(
                "SELECT boot, loaded, release_seq, state, utc_us, faults FROM drive_state"
            ).fetchone()
        if row is None:
            return None
        boot, loaded, release_seq, state, utc_us, faults = row
        return DriveState(
            boot=boot,
            loaded=loaded,
            release_seq=release_seq,
            state=state,
            utc_us=utc_us,
            faults=tuple(faults.splitlines()),
        )

    def set_drive_state(self, state: DriveState) -> None:
        """Say what drive has in memory and is doing; "off" is its orderly end."""
        with self.writing():
            if state.state == OFF:
                self._set_number(_RUNNING, 0)
            self.db.execute(
                "INSERT OR REPLACE INTO drive_state"
                " (id, boot, loaded, release_seq, state, utc_us, faults)"
                " VALUES (1, ?, ?, ?, ?, ?, ?)",
                (
                    state.boot,
                    state.loaded,
                    state.release_seq,
                    state.state,
                    state.utc_us,
                    "\n".join(" ".join(fault.split()) for fault in state.faults),
                ),
            )

    def unclean_starts(self) -> int:
        """Return how many of drive's last starts, in a row, found that the one before had died."""
        with self.reading():
            return self._number(_UNCLEAN)

    def note_start(self) -> None:
        """Count a start of drive; within a transaction."""
        died = self._number(_RUNNING) == 1
        self._set_number(_UNCLEAN, self._number(_UNCLEAN) + 1 if died else 0)
        self._set_number(_RUNNING, 1)

    def _number(self, key: str) -> int:
        return int(self.one("SELECT value FROM meta WHERE key = ?", key) or 0)

    def _set_number(self, key: str, value: int) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _body(self, table: Literal["desired", "update"]) -> bytes | None:
        with self.reading():
            found = self.one(f'SELECT body FROM "{table}"')  # noqa: S608 - own names
        return None if found is None else bytes(found)

    def _set_body(self, table: Literal["desired", "update"], body: bytes) -> None:
        with self.writing():
            self.db.execute(f'INSERT OR REPLACE INTO "{table}" VALUES (1, ?)', (body,))  # noqa: S608 - own names
