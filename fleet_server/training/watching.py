"""From stored pairs to verdicts: the step of the control loop that watches models on cars.

Laws:
- a step reads and decides; what it returns writes, in the same transaction. It is asked again under
  the write lock: what was summed up before that is not summed up again there;
- `drift` holds the rules: here they are only fed, and what they find is written down;
- a verdict is opened once, named better at most a few times, and cleared on the car's own evidence:
  its error has come back, or a newer model drives it well;
- labels of a sensor that is suspected are learned by no job from the moment of the verdict on.
"""

import logging
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select, update

from fleet_server.drift import naming, statistics
from fleet_server.drift.follow import Found, Memory, Over, Track, follow
from fleet_server.drift.reference import Built
from fleet_server.drift.summaries import Summary
from fleet_server.drift.watch import Settings, is_calm
from fleet_server.settings import ServerSettings
from fleet_server.storage import drift_store, trust
from fleet_server.storage.database import Change
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.tables import deployments, manoeuvres, models, tallies
from fleet_server.storage.upsert import insert
from fleet_server.training import clearing, runs
from shared.manifest import Manifest
from shared.samples import Sample
from shared.task import Task

logger = logging.getLogger(__name__)

_TEST_ERROR: Final = "test_mae"
_NO_TEST_ERROR_OF_SPAN: Final = 0.1
_PROVEN: Final = 5
"""Manoeuvres as usual, one after the other, that a new model clears an old one's verdict with."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The numbers of watching; `built` and `summed` spare the loop what it made lately."""

    drift: Settings
    timeout_us: int
    built: Built = field(default_factory=Built)
    summed: dict[int, Summary] = field(default_factory=dict)


def rules(settings: ServerSettings) -> Rules:
    """Return the rules as an operator set them."""
    return Rules(
        drift=Settings(
            between_alarms=settings.drift_between_alarms,
            slack=settings.drift_slack,
            reference=settings.reference_manoeuvres,
            window=settings.drift_window,
        ),
        timeout_us=round(settings.manoeuvre_timeout_s * 1e6),
    )


def judge(connection: Connection, deployment: str, now_utc_us: int, by: Rules) -> Change | None:
    """Take in the manoeuvres that are due, and write down what is found out."""
    if by.built.heed(drift_store.erased(connection)):
        by.summed.clear()
    before = now_utc_us - by.timeout_us
    found = drift_store.due(connection, deployment, received_before_utc_us=before)
    if not found:
        return None
    task = connection.scalar(select(deployments.c.task).filter_by(name=deployment))
    measured = msgspec.json.decode(task or b"{}", type=Task)
    for row in found:
        if row.id not in by.summed:
            held = drift_store.samples_of(connection, row)
            by.summed[row.id] = _summary(row, held, deployment, measured)
    return lambda c: _take(c, deployment, found, now_utc_us, by)


def _take(
    connection: Connection,
    deployment: str,
    found: list[Row[Any]],
    now_utc_us: int,
    by: Rules,
) -> None:
    for row in found:
        summary = by.summed.pop(row.id)
        drift_store.keep_summary(connection, row.id, summary)
        model = connection.execute(
            select(models).filter_by(sha256=summary.model, deployment=deployment)
        ).one_or_none()
        if model is not None and row.id > model.since_manoeuvre:
            _Watcher(connection, model, row.device, now_utc_us, by).take(row.id, summary)
    drift_store.move_cursor(connection, deployment)


def _summary(row: Row[Any], found: list[Sample], deployment: str, task: Task) -> Summary:
    led = [each.estimates[0].model for each in found if each.estimates]
    made = Summary(
        device=row.device,
        deployment=deployment,
        model=max(set(led), key=led.count) if led else "",
        low=task.low,
        span=task.span,
    )
    for each in found:
        made.add(each)
    return made


class _Watcher:
    """One model (a row of `models`) on one car, in the open transaction."""

    def __init__(
        self,
        connection: Connection,
        model: Row[Any],
        device: str,
        now_utc_us: int,
        by: Rules,
    ) -> None:
        self._connection = connection
        self._model = model
        self._device = device
        self._now_utc_us = now_utc_us
        self._settings, self._built = by.drift, by.built
        manifest = msgspec.json.decode(model.manifest, type=Manifest)
        self._task, self._unit = manifest.task, manifest.task.unit
        # A manifest without a test error is held to a tenth of the range until the field speaks.
        unknown = _NO_TEST_ERROR_OF_SPAN * manifest.task.span
        self._promised = manifest.metrics.get(_TEST_ERROR, unknown) or unknown

    def take(self, number: int, summary: Summary) -> None:
        """Follow one more manoeuvre."""
        track = drift_store.track_of(
            self._connection,
            self._model.deployment,
            self._device,
            self._model,
            promised=self._promised,
        )
        if not track.watch.manoeuvres:
            self._keep_statistics()
        changes = follow(
            track,
            number,
            summary,
            self._settings,
            ratio=drift_store.ratio(self._connection, self._model.sha256),
            memory=Memory(
                recall=lambda numbers: drift_store.recall(self._connection, numbers),
                built=self._built,
            ),
        )
        drift_store.keep_track(
            self._connection,
            track,
            deployment=self._model.deployment,
            device=self._device,
            model=self._model.sha256,
            last=number,
        )
        self._set_reference(track)
        for each in changes:
            if isinstance(each, Over):
                self._clear(each.subject, "it is over: manoeuvres are as they were before")
            else:
                self._write(each, track)
        proven = min(_PROVEN, self._settings.window)
        if is_calm(track.watch, proven, self._settings) and not track.bad:
            self._clear_older()

    def _keep_statistics(self) -> None:
        """Keep with the model's run what was normal when it was trained."""
        numbers = drift_store.training_of(self._connection, self._model)
        if self._model.job is None or not numbers:
            return
        found = drift_store.recall(self._connection, numbers)
        body = msgspec.json.encode(statistics.of(found, self._task, self._promised))
        runs.attach(
            self._connection, self._model.job, statistics.FILE, body, utc_us=self._now_utc_us
        )

    def _set_reference(self, track: Track) -> None:
        if (
            self._model.reference_mae is None
            and len(track.watch.errors) >= self._settings.reference
        ):
            self._connection.execute(
                update(models)
                .where(models.c.id == self._model.id, models.c.reference_mae.is_(None))
                .values(reference_mae=track.watch.reference)
            )

    def _write(self, found: Found, track: Track) -> None:
        whose = {
            "deployment": self._model.deployment,
            "model": self._model.sha256,
            "device": self._device,
            "kind": found.kind,
            "subject": found.subject,
        }
        said = {
            "reason": f"{self._device}: {found.words}"[:500],
            "evidence": msgspec.json.encode(self._evidence(found, track)).decode(),
            "cause": found.cause,
            "hurts": found.hurts,
            "is_estimate": found.is_estimate,
            "error": found.error,
            "normal": found.normal,
        }
        since = self._since(found.since)
        statement = insert(self._connection, verdicts).values(
            **whose, **said, utc_us=self._now_utc_us, since_sample=since
        )
        number = self._connection.scalar(
            statement.on_conflict_do_nothing().returning(verdicts.c.id)
        )
        if number is None:
            number = self._connection.scalar(
                update(verdicts)
                .filter_by(**whose)
                .where(verdicts.c.cleared_utc_us.is_(None))
                .values(**said, changed_utc_us=self._now_utc_us)
                .returning(verdicts.c.id)
            )
        logger.warning("verdict id=%s cause=%s reason=%r", number, found.cause, said["reason"])
        if number is None:
            return
        if found.cause in naming.OF_SENSOR:
            trust.begin(
                self._connection,
                verdict=number,
                deployment=self._model.deployment,
                device=self._device,
                since_sample=since,
                utc_us=self._now_utc_us,
            )
        else:
            # Named better: it was not the sensor after all.
            trust.lift(self._connection, number)
        # What is known not to hurt is told once, and is nothing that could be over.
        if found.kind == "change" and found.error is not None and not found.is_estimate:
            self._clear(found.subject, "it does not hurt, and is normal from now on")

    def _evidence(self, found: Found, track: Track) -> dict[str, object]:
        known = len(track.watch.errors) >= self._settings.reference
        return {
            "device": self._device,
            "error": found.error,
            "reference": found.normal,
            "reference_origin": "field" if known else "field-and-promise",
            "unit": self._unit,
            "is_estimate": found.is_estimate,
            **found.evidence,
        }

    def _since(self, number: int) -> int:
        """Return a row id that no sample of a manoeuvre row is below."""
        keys = ("device", "boot", "manoeuvre")
        found = self._connection.scalar(
            select(tallies.c.since_sample)
            .join(manoeuvres, _all_equal(tallies, manoeuvres, keys))
            .where(manoeuvres.c.id == number, tallies.c.model == "")
        )
        return found or 0

    def _clear(self, subject: str, reason: str) -> None:
        self._cleared(reason, verdicts.c.model == self._model.sha256, verdicts.c.subject == subject)

    def _clear_older(self) -> None:
        newer = f"version {self._model.version} drives {self._device} as well as it should"
        self._cleared(newer, verdicts.c.model != self._model.sha256)

    def _cleared(self, reason: str, *where: Any) -> None:
        clearing.clear(
            self._connection,
            reason,
            verdicts.c.deployment == self._model.deployment,
            verdicts.c.device == self._device,
            *where,
            utc_us=self._now_utc_us,
        )


def _all_equal(left: Any, right: Any, names: tuple[str, ...]) -> Any:
    condition = left.c[names[0]] == right.c[names[0]]
    for name in names[1:]:
        condition &= left.c[name] == right.c[name]
    return condition
