"""What the first page reads, and one complete look at it.

Laws:
- what changes only with new manoeuvres is read again only when there are new ones;
- of a large fleet the first cars alone are read here: the page's table is `reading.roll`'s.
"""

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

MANOEUVRES_SHOWN = 600
DECISIONS_SHOWN = 12

CARS_SHOWN = 40
"""Cars that have a line on the chart; the figures name and add up no more than these."""

_PAGE = 100


class Reader(Protocol):
    """What the console needs of the read side (`fleet_server.reading.queries`)."""

    def totals(self) -> Totals:
        """Return the fleet in numbers."""
        ...

    def devices(self, *, limit: int) -> tuple[DeviceView, ...]:
        """Return the first cars."""
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


def look(reader: Reader, before: Fleet | None = None) -> Fleet:
    """Return a look at the fleet; `before` spares reading again what cannot have changed.

    Raises:
        RetryLaterError: the database is busy or gone for the moment.
    """
    totals = reader.totals()
    fleet = Fleet(
        totals=totals,
        devices=reader.devices(limit=CARS_SHOWN),
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
