"""The journal's single rows: what the server wants, the model slots, what drive is doing.

Laws:
- each is replaced as a whole, in one transaction;
- the slot that is active changes in one transaction with the one that no longer is.
"""

import logging
from typing import Literal

import msgspec

from device.journal.file import JournalFile
from device.journal.records import DriveState, SlotRow, to_desired
from shared.errors import RefusedError
from shared.messages import Desired

logger = logging.getLogger(__name__)


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

    def slots(self) -> tuple[SlotRow, ...]:
        """Return slots a and b."""
        with self.reading():
            rows = self.db.execute("SELECT name, sha256, release_seq, state FROM slots").fetchall()
        return tuple(
            SlotRow(name=name, sha256=sha256, release_seq=release_seq, state=state)
            for name, sha256, release_seq, state in sorted(rows)
        )

    def commit_slot(self, sha256: str, release_seq: int) -> None:
        """Make the model `sha256` the active one; the one that was active becomes standby.

        A model that lies in a slot already is only pointed at; another takes the slot that is not
        active.
        """
        slots = "UPDATE slots SET"
        with self.writing():
            held = self.one("SELECT name FROM slots WHERE sha256 = ?", sha256)
            spare = self.one("SELECT min(name) FROM slots WHERE state <> 'active'")
            chosen = held or spare
            self.db.execute(f"{slots} state = 'standby' WHERE state = 'active'")
            self.db.execute(
                f"{slots} sha256 = ?, release_seq = ?, state = 'active' WHERE name = ?",
                (sha256, release_seq, chosen),
            )

    def active_model(self) -> str | None:
        """Return the digest of the model that drive should have loaded, or None."""
        with self.reading():
            found = self.one("SELECT sha256 FROM slots WHERE state = 'active'")
        return None if found is None else str(found)

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
        """Say what drive has in memory and is doing."""
        with self.writing():
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

    def _body(self, table: Literal["desired", "update"]) -> bytes | None:
        with self.reading():
            found = self.one(f'SELECT body FROM "{table}"')  # noqa: S608 - own names
        return None if found is None else bytes(found)

    def _set_body(self, table: Literal["desired", "update"], body: bytes) -> None:
        with self.writing():
            self.db.execute(f'INSERT OR REPLACE INTO "{table}" VALUES (1, ?)', (body,))  # noqa: S608 - own names
