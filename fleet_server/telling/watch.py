"""What people should be alerted to: conditions, read from committed rows, and what they mean.

    condition                                            severity   ends when
    the error of a deployment's latest model rose        critical   it is over, or another is latest
    a range sensor is stuck, noisy or drops out          warning    it is over
    the last training of a deployment failed             warning    another one was asked for
    a rollout was paused, by its gates or by a person    warning    it goes on, or is over
    nothing was heard of a car for `car_silent_s`        warning    it reports again
    `refused_an_hour` messages of a car were refused     warning    fewer were in the last hour
    signed release metadata is past half of its life     warning    its owner signed it anew
    the same, past nine tenths                           critical   its owner signed it anew

Laws:
- looking again without news changes nothing, and takes no write lock;
- a condition that nobody can look at now (a repository that is not set up) neither begins nor ends.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from fleet_server.releases import metadata
from fleet_server.releases.online import OnlineRepository
from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Database
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import deployments, devices, quarantine, training_jobs
from fleet_server.telling import alerts
from fleet_server.telling.alerts import Cause, Kind
from shared.clock import Clock
from shared.errors import UsageError

logger = logging.getLogger(__name__)

_HOUR_US = 3_600_000_000
_LAST_PART = 0.1
_MOST = 500
"""Conditions of a kind that are looked at together: more than people can read."""

_RELEASE: Kind = "release-expires"
_OF_ROWS: frozenset[Kind] = frozenset(
    {
        "error-risen",
        "sensor-suspected",
        "training-failed",
        "rollout-paused",
        "car-silent",
        "messages-refused",
    }
)


class Watch:
    """Raises and ends alerts by what is true now."""

    def __init__(
        self,
        database: Database,
        repository: OnlineRepository,
        settings: ServerSettings,
        clock: Clock,
    ) -> None:
        """Look at `database` and `repository`, by the limits in `settings`."""
        self._database = database
        self._repository = repository
        self._settings = settings
        self._clock = clock

    def look(self) -> bool:
        """Raise what has begun and end what is over; tell whether there was any.

        Raises:
            RetryLaterError: the database cannot be used now.
        """
        now = self._clock.utc_us()
        with self._database.read() as connection:
            true_now, watched = self._causes(connection, now)
            known = alerts.open_keys(connection)
        begun = [cause for key, cause in true_now.items() if key not in known]
        over = [key for key, kind in known.items() if kind in watched and key not in true_now]
        if not begun and not over:
            return False
        with self._database.write() as connection:
            alerts.end(connection, over, utc_us=now)
            for cause in begun:
                alerts.raise_alert(connection, cause, utc_us=now)
        for cause in begun:
            logger.warning("alert kind=%s of=%s reason=%r", cause.kind, cause.subject, cause.reason)
        for key in over:
            logger.info("alert_ended key=%s", key)
        return True

    def _causes(self, connection: Connection, now: int) -> tuple[dict[str, Cause], frozenset[str]]:
        """Return what is true now by its key, and the kinds that were looked at."""
        found = [
            *_errors(connection),
            *_failures(connection),
            *_pauses(connection),
            *_silences(connection, now - round(self._settings.car_silent_s * 1e6)),
            *_refusals(connection, now - _HOUR_US, self._settings.refused_an_hour),
        ]
        watched: frozenset[str] = _OF_ROWS
        try:
            if self._repository.is_initialised:
                found += releases_due(self._repository.lives(), metadata.moment(now))
                watched |= {_RELEASE}
        except UsageError as error:
            logger.error("releases_not_watched reason=%r", str(error))  # noqa: TRY400 - a person's mistake: its text says it all
        return {cause.key: cause for cause in found}, watched


def releases_due(lives: Mapping[str, tuple[datetime, timedelta]], now: datetime) -> Iterator[Cause]:
    """Yield a cause for each role whose metadata is old.

    `lives` says of each when it expires, and for how long it is valid.

    Half-life is warned of, the last tenth is critical; each has a key of its own, so that the
    second is told after the first.
    """
    for role, (expires, valid) in lives.items():
        is_late = now >= expires - valid * _LAST_PART
        if not metadata.is_due(expires, valid, now):
            continue
        yield Cause(
            key=f"{_RELEASE}/{role}/{'late' if is_late else 'due'}",
            kind=_RELEASE,
            severity="critical" if is_late else "warning",
            subject=role,
            reason=f"the release metadata of {role} expires on {expires:%Y-%m-%d}: sign it anew",
            evidence={"expires": expires.isoformat(), "valid_days": valid.days},
        )


def _errors(connection: Connection) -> Iterator[Cause]:
    query = select(verdicts).join(
        deployments,
        (deployments.c.name == verdicts.c.deployment)
        & (deployments.c.latest_model == verdicts.c.model),
    )
    query = query.where(verdicts.c.cleared_utc_us.is_(None), verdicts.c.kind != "change")
    for row in connection.execute(query.order_by(verdicts.c.id.desc()).limit(_MOST)):
        kind: Kind = "sensor-suspected" if row.kind == "sensor" else "error-risen"
        subject = row.device if row.kind == "sensor" else row.model
        yield Cause(
            key=f"{kind}/{row.deployment}/{subject}",
            kind=kind,
            severity="warning" if row.kind == "sensor" else "critical",
            subject=subject,
            reason=row.reason,
            deployment=row.deployment,
            verdict=row.id,
        )


def _failures(connection: Connection) -> Iterator[Cause]:
    last = select(func.max(training_jobs.c.id)).group_by(training_jobs.c.deployment)
    query = select(training_jobs).where(
        training_jobs.c.id.in_(last), training_jobs.c.state == "failed"
    )
    for row in connection.execute(query.limit(_MOST)):
        yield Cause(
            key=f"training-failed/{row.id}",
            kind="training-failed",
            severity="warning",
            subject=str(row.id),
            reason=f"training job {row.id} of {row.deployment} failed: {row.message}"[:300],
            deployment=row.deployment,
            evidence={"job": row.id, "attempt": row.attempt, "worker": row.worker},
            verdict=row.verdict,
        )


def _pauses(connection: Connection) -> Iterator[Cause]:
    query = select(rollouts).filter_by(state="paused").order_by(rollouts.c.id).limit(_MOST)
    for row in connection.execute(query):
        yield Cause(
            key=f"rollout-paused/{row.id}",
            kind="rollout-paused",
            severity="warning",
            subject=row.model,
            reason=f"the rollout in {row.deployment} is paused: {row.reason}"[:300],
            deployment=row.deployment,
            evidence={"rollout": row.id, "strategy": row.strategy, "stage": row.stage},
        )


def _silences(connection: Connection, before_utc_us: int) -> Iterator[Cause]:
    heard = func.coalesce(devices.c.last_seen_utc_us, devices.c.enrolled_utc_us)
    query = select(devices.c.name, devices.c.deployment, heard.label("heard")).where(
        heard < before_utc_us, devices.c.state == "confirmed"
    )
    for row in connection.execute(query.order_by(devices.c.id).limit(_MOST)):
        since = f"{metadata.moment(row.heard):%Y-%m-%d %H:%M} UTC"
        yield Cause(
            key=f"car-silent/{row.name}",
            kind="car-silent",
            severity="warning",
            subject=row.name,
            reason=f"nothing was heard of {row.name} since {since}",
            deployment=row.deployment,
            evidence={"last_seen_utc_us": row.heard},
        )


def _refusals(connection: Connection, since_utc_us: int, most: int) -> Iterator[Cause]:
    count = func.count()
    query = (
        select(quarantine.c.device, count.label("refused"), func.max(quarantine.c.reason))
        .where(quarantine.c.received_utc_us >= since_utc_us)
        .group_by(quarantine.c.device)
        .having(count >= most)
    )
    for device, refused, reason in connection.execute(query.limit(_MOST)):
        yield Cause(
            key=f"messages-refused/{device}",
            kind="messages-refused",
            severity="warning",
            subject=device,
            reason=f"{refused} messages of {device} were refused within an hour: {reason}"[:300],
            evidence={"refused": refused},
        )
