"""The fleet in numbers for Prometheus: one table of all families, and how each is read.

Laws:
- the table is the documentation (docs/reference/metrics.md): a name that is not in it is not shown;
- a name never changes its meaning; a new meaning gets a new name;
- what the database knows is the fleet's, whichever process is asked; what is counted "by this
  process" begins at 0 with each start;
- what an erasure lowers is a gauge: Prometheus takes a counter that falls for one that began anew,
  and would add the whole of it;
- no label takes a value that a car or a stranger makes up: names of deployments are operators'.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from fleet_server.reading.queries import Queries
from fleet_server.reading.views import RolloutView, Totals
from fleet_server.storage.database import Database
from fleet_server.telling import alerts

CONTENT_TYPE = CONTENT_TYPE_LATEST

PREFIX = "parkfleet_"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

Values = Mapping[tuple[str, ...], float]
Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Everything that is read from the database for one answer."""

    totals: Totals
    rollouts: tuple[RolloutView, ...]
    outcomes: Mapping[str, int]
    dropped: int
    alerts: Mapping[str, int]
    deliveries: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family: its name after `parkfleet_`, less a counter's `_total`, and where it is from.

    `read` returns the value of each combination of labels; None for what is counted as it happens.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    read: Callable[[Numbers], Values] | None = None

    @property
    def full_name(self) -> str:
        """The name as Prometheus sees it."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _one(value: Callable[[Totals], float]) -> Callable[[Numbers], Values]:
    return lambda numbers: {(): value(numbers.totals)}


def _each(
    names: Iterable[str], found: Callable[[Numbers], Mapping[str, int]]
) -> Callable[[Numbers], Values]:
    known = tuple(names)
    return lambda numbers: {(name,): found(numbers).get(name, 0) for name in known}


OUTCOMES = ("stored", "duplicate", "rejected", "unproven", "over_quota")
STATES = ("queued", "running", "done", "failed", "cancelled")
SEVERITIES = ("warning", "critical")
DELIVERY = ("waiting", "delivered", "given_up")

REQUESTS = Family(
    name="http_requests",
    kind="counter",
    text="REST requests that this process answered.",
    labels=("method", "route", "status"),
)
SECONDS = Family(
    name="http_request_seconds",
    kind="histogram",
    text="How long this process took to answer, in seconds.",
    labels=("method", "route"),
)

FAMILIES: tuple[Family, ...] = (
    Family(name="devices", kind="gauge", text="Enrolled cars.", read=_one(lambda t: t.devices)),
    Family(
        name="devices_online",
        kind="gauge",
        text="Cars that are reachable.",
        read=_one(lambda t: t.online),
    ),
    Family(
        name="pairs_stored",
        kind="gauge",
        text="Pairs that are stored.",
        read=_one(lambda t: t.pairs_stored),
    ),
    Family(
        name="pictures_stored",
        kind="gauge",
        text="Pictures that are stored.",
        read=_one(lambda t: t.pictures),
    ),
    Family(
        name="manoeuvres_stored",
        kind="gauge",
        text="Manoeuvres that ended and are stored.",
        read=_one(lambda t: t.manoeuvres),
    ),
    Family(
        name="models_registered",
        kind="counter",
        text="Models that were registered.",
        read=_one(lambda t: t.models),
    ),
    Family(
        name="decisions",
        kind="counter",
        text="Entries of the log book.",
        read=_one(lambda t: t.decisions),
    ),
    Family(
        name="quarantined",
        kind="gauge",
        text="Messages that were refused and lie in quarantine.",
        read=_one(lambda t: t.quarantined),
    ),
    Family(
        name="batches",
        kind="counter",
        text="Batches that this process received, by outcome.",
        labels=("outcome",),
        read=_each(OUTCOMES, lambda numbers: numbers.outcomes),
    ),
    Family(
        name="messages_dropped",
        kind="counter",
        text="Messages that this process had no room for and did not acknowledge.",
        read=lambda numbers: {(): numbers.dropped},
    ),
    Family(
        name="training_jobs",
        kind="gauge",
        text="Training jobs, by state.",
        labels=("state",),
        read=_each(STATES, lambda numbers: numbers.totals.jobs),
    ),
    Family(
        name="alerts_open",
        kind="gauge",
        text="Alerts whose cause has not ended, by severity.",
        labels=("severity",),
        read=_each(SEVERITIES, lambda numbers: numbers.alerts),
    ),
    Family(
        name="alert_deliveries",
        kind="gauge",
        text="Webhooks and e-mails that alerts asked for, by how far they are.",
        labels=("state",),
        read=_each(DELIVERY, lambda numbers: numbers.deliveries),
    ),
    Family(
        name="deployment_version",
        kind="gauge",
        text="The version that is a deployment's latest.",
        labels=("deployment",),
        read=lambda numbers: {(each.deployment,): each.version for each in numbers.rollouts},
    ),
    Family(
        name="deployment_devices",
        kind="gauge",
        text="Cars of a deployment that has a model.",
        labels=("deployment",),
        read=lambda numbers: {(each.deployment,): each.wanted for each in numbers.rollouts},
    ),
    Family(
        name="deployment_devices_loaded",
        kind="gauge",
        text="Cars of a deployment that report its latest model as loaded.",
        labels=("deployment",),
        read=lambda numbers: {(each.deployment,): each.loaded for each in numbers.rollouts},
    ),
    REQUESTS,
    SECONDS,
)


class Traffic:
    """Counts requests as they are answered. Shared between threads."""

    def __init__(self) -> None:
        """Make the two families of requests and those of the process itself (`process_...`)."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            PREFIX + REQUESTS.name, REQUESTS.text, REQUESTS.labels, registry=self.registry
        )
        self._seconds = Histogram(
            PREFIX + SECONDS.name,
            SECONDS.text,
            SECONDS.labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is a pattern, not a path."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


def exposition(
    database: Database, outcomes: Tally[str], traffic: Traffic, *, dropped: int = 0
) -> bytes:
    """Return all families in Prometheus' text format; `dropped` is the sum over all connections.

    Raises:
        RetryLaterError: the database cannot be used now.
    """
    queries = Queries(database)
    numbers = Numbers(
        totals=queries.totals(),
        rollouts=queries.rollouts(),
        outcomes=dict(outcomes),
        dropped=dropped,
        alerts=alerts.open_by_severity(database),
        deliveries=alerts.deliveries_by_state(database),
    )
    fleet = CollectorRegistry()
    fleet.register(_Read(numbers))
    return generate_latest(fleet) + generate_latest(traffic.registry)


class _Read(Collector):
    """What was read from the database, as Prometheus' library wants it."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        for family in FAMILIES:
            if family.read is None:
                continue
            shape = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = shape(PREFIX + family.name, family.text, labels=family.labels)
            for labels, value in family.read(self._numbers).items():
                metric.add_metric(labels, value)
            yield metric
