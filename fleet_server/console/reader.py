"""What the console reads, and one complete look at it.

Laws:
- a look is taken in a thread of its own and shared by all open pages;
- what changes only with new manoeuvres is read again only when there are new ones.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

from fleet_server.reading.views import (
    DecisionView,
    DeploymentView,
    DeviceView,
    JobView,
    ManoeuvreView,
    RolloutView,
    Totals,
)
from shared.clock import Clock

MANOEUVRES_SHOWN = 600
DECISIONS_SHOWN = 12

_FRESH_US = 900_000
_PAGE = 100


class Reader(Protocol):
    """What the console needs of the read side (`fleet_server.reading.queries`)."""

    def totals(self) -> Totals:
        """Return the fleet in numbers."""
        ...

    def devices(self) -> tuple[DeviceView, ...]:
        """Return the cars."""
        ...

    def deployments(self) -> tuple[DeploymentView, ...]:
        """Return the deployments."""
        ...

    def rollouts(self) -> tuple[RolloutView, ...]:
        """Return how far each deployment's model has come."""
        ...

    def manoeuvres(self, *, limit: int, newest: bool) -> tuple[ManoeuvreView, ...]:
        """Return manoeuvres that ended, in the order in which the server heard of them."""
        ...

    def decisions(self, *, limit: int, newest: bool) -> tuple[DecisionView, ...]:
        """Return the log book."""
        ...

    def training_jobs(self, *, after: int, limit: int) -> tuple[JobView, ...]:
        """Return training jobs whose id is above `after`, oldest first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """One look at everything that the first page shows; `job` is the newest training job."""

    totals: Totals
    devices: tuple[DeviceView, ...]
    deployments: tuple[DeploymentView, ...]
    rollouts: tuple[RolloutView, ...]
    manoeuvres: tuple[ManoeuvreView, ...]
    decisions: tuple[DecisionView, ...]
    job: JobView | None


class Looks:
    """Looks at the fleet, at most one a second however many pages are open."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        """Look through `reader`; `clock` says how old a look is."""
        self._reader = reader
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: Fleet | None = None
        self._taken_us = 0

    async def fleet(self) -> Fleet:
        """Return a look that is not older than a second.

        Raises:
            RetryLaterError: the database is busy or gone for the moment.
        """
        async with self._lock:
            now_us = self._clock.monotonic_us()
            if self._last is None or now_us - self._taken_us >= _FRESH_US:
                self._last = await asyncio.to_thread(look, self._reader, self._last)
                self._taken_us = now_us
            return self._last


def look(reader: Reader, before: Fleet | None = None) -> Fleet:
    """Return a look at the fleet; `before` spares reading again what cannot have changed.

    Raises:
        RetryLaterError: the database is busy or gone for the moment.
    """
    totals = reader.totals()
    fleet = Fleet(
        totals=totals,
        devices=reader.devices(),
        deployments=reader.deployments(),
        rollouts=reader.rollouts(),
        manoeuvres=(),
        decisions=reader.decisions(limit=DECISIONS_SHOWN, newest=True),
        job=_newest_job(reader, before.job if before else None),
    )
    if before and _is_same_pairs(totals, before.totals):
        return replace(fleet, manoeuvres=before.manoeuvres)
    return replace(fleet, manoeuvres=reader.manoeuvres(limit=MANOEUVRES_SHOWN, newest=True))


def _is_same_pairs(one: Totals, other: Totals) -> bool:
    # A model that is registered later gives its version to manoeuvres that are already here.
    return (one.manoeuvres, one.pairs_stored, one.models) == (
        other.manoeuvres,
        other.pairs_stored,
        other.models,
    )


def _newest_job(reader: Reader, known: JobView | None) -> JobView | None:
    """Return the newest job, read on from the one that is known."""
    after = known.id - 1 if known else 0
    newest = known
    while page := reader.training_jobs(after=after, limit=_PAGE):
        newest = page[-1]
        after = newest.id
    return newest
