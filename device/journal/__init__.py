"""The journal on the car: what drive logged, what the server has, and everything between.

`journal` is the door; the other modules are its parts: the file and its schema, rows of records,
the state that drive and agent share, counters, and what is watched, closed and given up.
"""

from device.journal.journal import Journal
from device.journal.records import DriveState, JournalCounts, SlotRow

__all__ = ["DriveState", "Journal", "JournalCounts", "SlotRow"]
