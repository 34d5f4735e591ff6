"""Asks cars for pictures that teach, while a retraining waits for data: a step of the control loop.

Laws:
- a step reads and decides; what it returns writes, in the same transaction;
- only what was decided to be collected is asked for, of cars that are there, and no more than is
  missing; a picture that is just on its way is not asked for;
- a car is asked at most once in `AGAIN_US`, and one that refused, since its owner lets no picture
  leave, not within `REFUSED_US`;
- an order is one like any operator's: signed, in the log book, answered. The car's own consent is
  above it, and what is asked for goes before everything else that waits there.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select

from fleet_server import logbook
from fleet_server.cars import commanding
from fleet_server.drift import comparison, norms
from fleet_server.drift.norms import Norms
from fleet_server.drift.summaries import Summary, stretch_of
from fleet_server.storage import drift_store, situation, trust
from fleet_server.storage.database import Change
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.fleet_tables import commands
from fleet_server.storage.tables import (
    decisions,
    deployments,
    devices,
    of_a_pair,
    pictures,
    same_sample,
    samples,
)
from fleet_server.training import teaching
from fleet_server.training.retraining import Policy
from fleet_server.training.teaching import Candidate
from shared.samples import Sample
from shared.task import Task

logger = logging.getLogger(__name__)

ON_ITS_WAY_US: Final = 30_000_000
AGAIN_US: Final = 120_000_000
REFUSED_US: Final = 3_600_000_000
MOST: Final = 100
"""Pictures that one order asks of a car: a few messages' worth."""

_LOOKED_AT: Final = 400
_decoder = msgspec.msgpack.Decoder(Sample)


def ask(connection: Connection, deployment: str, now_utc_us: int, by: Policy) -> Change | None:
    """Order pictures that teach of the cars of a deployment whose verdict waits for pairs."""
    verdict = _collected(connection, deployment)
    if verdict is None:
        return None
    since = verdict.since_sample
    missing = by.retrain_pairs - situation.trainable_pairs(
        connection, deployment=deployment, since=since, limit=by.retrain_pairs
    )
    if missing <= 0:
        return None
    task = msgspec.json.decode(
        connection.scalar(select(deployments.c.task).filter_by(name=deployment)) or b"{}", type=Task
    )
    candidates = [
        each
        for car in _cars(connection, deployment, now_utc_us)
        for each in _candidates(connection, verdict, car, task, now_utc_us)
    ]
    held = _held(connection, deployment, since, task)
    chosen = teaching.choose(candidates, missing, held=held, seed=verdict.id)
    if not chosen:
        return None
    return lambda c: _order(c, chosen, verdict, now_utc_us)


def _collected(connection: Connection, deployment: str) -> Row[Any] | None:
    """Return the worst open verdict about which the last word of the policy is to collect."""
    last = (
        select(decisions.c.kind)
        .where(decisions.c.verdict == verdicts.c.id, decisions.c.actor == logbook.CONTROL)
        .order_by(decisions.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(verdicts)
        .where(
            verdicts.c.deployment == deployment,
            verdicts.c.cleared_utc_us.is_(None),
            verdicts.c.hurts,
            last == "collect",
        )
        .order_by(verdicts.c.id)
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _cars(connection: Connection, deployment: str, now_utc_us: int) -> Iterator[str]:
    """Yield the cars that may be asked now."""
    query = select(devices.c.name).where(
        devices.c.deployment == deployment,
        devices.c.state == "confirmed",
        devices.c.online,
        devices.c.boot.is_not(None),
    )
    for name in connection.scalars(query.order_by(devices.c.name)).all():
        last = connection.execute(
            select(commands)
            .filter_by(device=name, actor=logbook.CONTROL, verb="pictures")
            .order_by(commands.c.id.desc())
            .limit(1)
        ).one_or_none()
        rest_us = REFUSED_US if last is not None and last.outcome == "refused" else AGAIN_US
        if last is None or now_utc_us - last.utc_us >= rest_us:
            yield name


def _candidates(
    connection: Connection, verdict: Row[Any], car: str, task: Task, now_utc_us: int
) -> Iterator[Candidate]:
    query = (
        select(samples.c.body)
        .outerjoin(pictures, same_sample(samples, pictures))
        .where(
            samples.c.deployment == verdict.deployment,
            samples.c.device == car,
            samples.c.id >= verdict.since_sample,
            samples.c.label.is_not(None),
            samples.c.picture_sha256.is_not(None),
            samples.c.received_utc_us < now_utc_us - ON_ITS_WAY_US,
            pictures.c.id.is_(None),
            trust.now(),
        )
        .order_by(samples.c.id.desc())
        .limit(_LOOKED_AT)
    )
    bodies = connection.scalars(query).all()
    known = _norms(connection, verdict) if bodies else None
    for each in map(_decoder.decode, bodies):
        yield _candidate(each, verdict.model, task, known)


def _norms(connection: Connection, verdict: Row[Any]) -> Norms | None:
    numbers = drift_store.reference_of(connection, verdict)
    if not numbers:
        return None
    cells = [norms.cells_of(each) for each in drift_store.recall(connection, numbers)]
    return norms.of(cells, error=0.0)


def _candidate(sample: Sample, model: str, task: Task, known: Norms | None) -> Candidate:
    alone = Summary(device=sample.device, deployment="", model=model, low=task.low, span=task.span)
    alone.add(sample)
    placed = None if known is None else comparison.placed(known, norms.cells_of(alone))
    return Candidate(
        device=sample.device,
        boot=sample.boot,
        sequence=sample.sequence,
        stretch=stretch_of(sample.label or 0.0, task.low, task.span),
        residual=alone.errors.total,
        is_outside=placed is not None and bool((placed.place != comparison.INSIDE).any()),
    )


def _held(connection: Connection, deployment: str, since: int, task: Task) -> Counter[int]:
    query = (
        select(samples.c.label)
        .join(pictures, of_a_pair())
        .where(samples.c.deployment == deployment, samples.c.id >= since)
        .limit(_LOOKED_AT)
    )
    return Counter(stretch_of(label, task.low, task.span) for label in connection.scalars(query))


def _order(
    connection: Connection, chosen: list[Candidate], verdict: Row[Any], now_utc_us: int
) -> None:
    for car in dict.fromkeys(each.device for each in chosen):
        mine = [each for each in chosen if each.device == car][:MOST]
        commanding.order(
            connection,
            device=car,
            actor=logbook.CONTROL,
            verb="pictures",
            arguments=teaching.spans(mine),
            reason=f"{len(mine)} pictures that teach are wanted: verdict {verdict.id}",
            utc_us=now_utc_us,
        )
        logger.info("pictures_asked device=%s pictures=%d verdict=%d", car, len(mine), verdict.id)
