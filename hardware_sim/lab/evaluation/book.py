"""What the server wrote while an evaluation went on: decisions, verdicts, manoeuvres, samples.

Laws:
- nothing is asked of one deployment only: cars may be moved into another on the way;
- a list is read anew each time: an evaluation waits for what comes into it;
- what belongs to a phase is what came after its mark.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from hardware_sim.lab.rest import Server
from shared.samples import Sample


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How far the lists were: the number of decisions, verdicts' ids, the last manoeuvre's id."""

    decisions: int = 0
    verdicts: frozenset[int] = frozenset()
    manoeuvre: int = 0


START = Mark()
"""Before anything was written."""


class Book:
    """The lists of a server over REST, oldest first, from a mark on."""

    def __init__(self, server: Server) -> None:
        """Read from `server`."""
        self._server = server

    def mark(self) -> Mark:
        """Return how far the lists are."""
        return Mark(
            decisions=len(self.decisions(START)),
            verdicts=frozenset(each["id"] for each in self.verdicts(START)),
            manoeuvre=max([each["id"] for each in self.manoeuvres(START)], default=0),
        )

    def decisions(self, since: Mark) -> list[dict[str, Any]]:
        """Return the log book."""
        return list(self._server.all("decisions"))[since.decisions :]

    def verdicts(self, since: Mark) -> list[dict[str, Any]]:
        """Return the verdicts on drift."""
        every = self._server.all("drift")
        return [each for each in every if each["id"] not in since.verdicts]

    def manoeuvres(self, since: Mark) -> list[dict[str, Any]]:
        """Return the manoeuvres that ended: id, device, boot, manoeuvre, mae (mm)."""
        names = ("id", "device", "boot", "manoeuvre", "mae")
        every = self._server.all("manoeuvres")
        return [
            {name: each[name] for name in names} for each in every if each["id"] > since.manoeuvre
        ]

    def samples(self, device: str) -> list[Sample]:
        """Return every stored sample of a car."""
        every = self._server.all("samples", device=device)
        return [msgspec.convert(each["record"], Sample) for each in every]
