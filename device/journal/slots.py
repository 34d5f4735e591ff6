"""The two model slots: which model drives, and which answers beside it.

Laws:
- what is active, and what no longer is, change in one transaction;
- a model in `shadow` answers beside the active one and never steers: a candidate, or the former
  model while its successor is on probation;
- each change may be made again and leaves the same, so that a kill after it does no harm.
"""

from device.journal.file import JournalFile
from device.journal.records import SlotRow

USABLE = ("active", "standby", "shadow")
"""The states of slots whose model is kept."""


class SlotTables(JournalFile):
    """The slots of an open journal."""

    def slots(self) -> tuple[SlotRow, ...]:
        """Return slots a and b."""
        with self.reading():
            rows = self.db.execute("SELECT name, sha256, release_seq, state FROM slots").fetchall()
        return tuple(
            SlotRow(name=name, sha256=sha256, release_seq=release_seq, state=state)
            for name, sha256, release_seq, state in sorted(rows)
        )

    def held_models(self) -> set[str]:
        """Return the digests of the models that lie in a slot and may be used."""
        return {row.sha256 for row in self.slots() if row.sha256 and row.state in USABLE}

    def active_model(self) -> str | None:
        """Return the digest of the model that drive should have loaded, or None."""
        return self._model_in("active")

    def shadow_model(self) -> str | None:
        """Return the digest of the model that drive should ask beside it, or None."""
        return self._model_in("shadow")

    def stage_slot(self, sha256: str, release_seq: int) -> None:
        """Have the model `sha256` answer beside the active one, from the other slot."""
        with self.writing():
            if self.one("SELECT 1 FROM slots WHERE sha256 = ? AND state = 'active'", sha256):
                return
            self.db.execute(
                "UPDATE slots SET sha256 = ?, release_seq = ?, state = 'shadow' WHERE name ="
                " coalesce((SELECT name FROM slots WHERE state = 'shadow'),"
                " (SELECT min(name) FROM slots WHERE state <> 'active'))",
                (sha256, release_seq),
            )

    def commit_slot(self, sha256: str, release_seq: int, *, keep_asking: bool = False) -> None:
        """Make the model `sha256` the active one; the one that was active becomes standby.

        A model that lies in a slot already is only pointed at; another takes the slot that is not
        active. `keep_asking`: the one that was active answers beside it from now on.
        """
        former = "shadow" if keep_asking else "standby"
        with self.writing():
            held = self.one("SELECT name FROM slots WHERE sha256 = ?", sha256)
            if held is not None and held == self.one(
                "SELECT name FROM slots WHERE state = 'active'"
            ):
                return
            spare = self.one("SELECT min(name) FROM slots WHERE state <> 'active'")
            chosen = held or spare
            # Out of the way first: there is one of each at most, at every instant.
            self.db.execute("UPDATE slots SET state = 'empty' WHERE name = ?", (chosen,))
            self.db.execute("UPDATE slots SET state = ? WHERE state = 'active'", (former,))
            self.db.execute(
                "UPDATE slots SET sha256 = ?, release_seq = ?, state = 'active' WHERE name = ?",
                (sha256, release_seq, chosen),
            )

    def settle_slots(self) -> None:
        """Have no model answer beside the active one; the one that did becomes standby."""
        with self.writing():
            self.db.execute("UPDATE slots SET state = 'standby' WHERE state = 'shadow'")

    def clear_shadow(self) -> None:
        """Empty the slot whose model answers beside the active one."""
        with self.writing():
            self.db.execute(
                "UPDATE slots SET sha256 = NULL, release_seq = 0, state = 'empty'"
                " WHERE state = 'shadow'"
            )

    def refuse_slot(self, sha256: str) -> None:
        """Use the model `sha256` no longer, unless it is the active one."""
        with self.writing():
            self.db.execute(
                "UPDATE slots SET state = 'refused' WHERE sha256 = ? AND state <> 'active'",
                (sha256,),
            )

    def step_back(self, sha256: str) -> None:
        """Use the model `sha256` no longer; where it was active, the other slot's is, if any."""
        with self.writing():
            self.db.execute("UPDATE slots SET state = 'refused' WHERE sha256 = ?", (sha256,))
            if self.one("SELECT count(*) FROM slots WHERE state = 'active'"):
                return
            self.db.execute(
                "UPDATE slots SET state = 'active' WHERE name ="
                " (SELECT min(name) FROM slots WHERE state IN ('shadow', 'standby'))"
            )

    def _model_in(self, state: str) -> str | None:
        with self.reading():
            found = self.one("SELECT sha256 FROM slots WHERE state = ?", state)
        return None if found is None else str(found)
