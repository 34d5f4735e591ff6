"""What the journal says the car should do: which model to run, which to ask beside it, whether the
two share the driving, and under which wish of the server.

Laws:
- looking costs a read and happens while the car stands; what was seen last holds in between, and
  for as long as the journal cannot be read;
- a journal that takes nothing any more can still be read: the model in service stays known on a
  full or read-only disk.
"""

import logging

from device.home import Home
from device.journal import Journal
from device.update.arms import Arms, Split
from device.update.saved import draw_of, load
from shared.errors import ParkfleetError
from shared.messages import Desired

_log = logging.getLogger(__name__)


class Wishes:
    """The newest that could be read."""

    def __init__(self, home: Home, journal: Journal | None) -> None:
        """Look through `journal`, or, where it could not be opened, at its file."""
        self._path, self._journal = home.journal, journal
        self.model: str | None = None
        self.shadow: str | None = None
        self.draw: tuple[Arms, Split] | None = None
        self.desired: Desired | None = None

    def look(self) -> None:
        """Read what is wished now; call only while the car stands."""
        try:
            if self._journal is not None:
                self._read(self._journal)
                return
            # Opened anew each time: a file that is read without its log shows no later changes.
            journal = Journal.open_for_reading(self._path)
            try:
                self._read(journal)
            finally:
                journal.close()
        except ParkfleetError as error:
            _log.warning("wishes_not_read error=%s", error)

    def _read(self, journal: Journal) -> None:
        self.model = journal.active_model()
        self.shadow = journal.shadow_model()
        self.draw = draw_of(load(journal.update_state()))
        self.desired = journal.desired()
