"""What the drift rules read and leave: manoeuvres that are due, summaries, tracks.

Laws:
- a look costs what is new: manoeuvres beyond the deployment's cursor that are not summarised yet;
- a manoeuvre is due once all of its pairs are stored, or once it has waited for them long enough;
  those that came in order of batches are taken in order of their row ids, whatever came first;
- what cannot be read again (erased, or of another version) is as if it had never been.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, and_, delete, exists, func, or_, select

from fleet_server.drift.follow import TRAINING, Track
from fleet_server.drift.summaries import Summary
from fleet_server.drift.watch import MEAN_ERROR_OF_SIGMA, Watch
from fleet_server.storage.drift_tables import drift_cursors, drift_summaries, drift_tracks
from fleet_server.storage.erasure_tables import erasures
from fleet_server.storage.tables import manoeuvres, samples, tallies
from fleet_server.storage.upsert import insert
from shared.samples import Sample

MOST_AT_ONCE: Final = 32
"""Manoeuvres that one look takes in."""

_REACH: Final = 5_000
"""How far the sequences of one manoeuvre's samples lie apart, at the most."""

_samples = msgspec.msgpack.Decoder(Sample)
_summaries = msgspec.msgpack.Decoder(Summary)
_tracks = msgspec.msgpack.Decoder(Track)


def due(connection: Connection, deployment: str, *, received_before_utc_us: int) -> list[Row[Any]]:
    """Return the rows of manoeuvres that are due, with `since_sample`, by row id."""
    every = tallies.alias("every")
    is_summarised = exists(
        select(drift_summaries.c.manoeuvre).where(drift_summaries.c.manoeuvre == manoeuvres.c.id)
    )
    query = (
        select(
            *(manoeuvres.c[name] for name in ("id", "device", "boot", "manoeuvre")),
            every.c.since_sample,
        )
        .outerjoin(
            every,
            and_(
                every.c.model == "",
                *(every.c[name] == manoeuvres.c[name] for name in ("device", "boot", "manoeuvre")),
            ),
        )
        .where(
            manoeuvres.c.deployment == deployment,
            manoeuvres.c.id > _cursor(connection, deployment),
            ~is_summarised,
            or_(
                every.c.samples >= manoeuvres.c.pairs,
                manoeuvres.c.received_utc_us < received_before_utc_us,
            ),
        )
        .order_by(manoeuvres.c.id)
        .limit(MOST_AT_ONCE)
    )
    return list(connection.execute(query))


def samples_of(connection: Connection, row: Row[Any]) -> list[Sample]:
    """Return the stored samples of a row that `due` gave, in order of sequence."""
    if row.since_sample is None:
        return []
    of_manoeuvre = [samples.c[name] == getattr(row, name) for name in ("device", "boot")]
    first = connection.scalar(
        select(samples.c.sequence)
        .where(
            *of_manoeuvre, samples.c.id >= row.since_sample, samples.c.manoeuvre == row.manoeuvre
        )
        .order_by(samples.c.id)
        .limit(1)
    )
    if first is None:
        return []
    query = select(samples.c.body).where(
        *of_manoeuvre,
        samples.c.sequence.between(first - _REACH, first + _REACH),
        samples.c.manoeuvre == row.manoeuvre,
    )
    bodies = connection.scalars(query.order_by(samples.c.sequence))
    return [_samples.decode(body) for body in bodies]


def keep_summary(connection: Connection, manoeuvre: int, summary: Summary) -> None:
    """Keep the summary of a manoeuvre row."""
    statement = insert(connection, drift_summaries).values(
        manoeuvre=manoeuvre,
        device=summary.device,
        deployment=summary.deployment,
        model=summary.model,
        samples=summary.samples,
        body=msgspec.msgpack.encode(summary),
    )
    connection.execute(statement.on_conflict_do_nothing())


def recall(connection: Connection, numbers: Sequence[int]) -> list[Summary]:
    """Return the summaries of manoeuvre rows, in the order of `numbers`."""
    query = select(drift_summaries.c.manoeuvre, drift_summaries.c.body).where(
        drift_summaries.c.manoeuvre.in_(list(numbers))
    )
    found = {row.manoeuvre: _summaries.decode(row.body) for row in connection.execute(query)}
    return [found[number] for number in numbers if number in found]


def track_of(
    connection: Connection, deployment: str, device: str, model: Row[Any], *, promised: float
) -> Track:
    """Return what is remembered of a row of `models` on a car, new where nothing is."""
    key = {"deployment": deployment, "device": device, "model": model.sha256}
    body = connection.scalar(select(drift_tracks.c.body).filter_by(**key))
    if body is not None:
        return _tracks.decode(body)
    return Track(watch=Watch(promised=promised), training=training_of(connection, model))


def keep_track(
    connection: Connection, track: Track, *, deployment: str, device: str, model: str, last: int
) -> None:
    """Keep what is remembered, up to the manoeuvre row `last`."""
    values = {
        "manoeuvre": last,
        "error_sum": track.watch.error_sum,
        "sigma_sum": track.watch.sigma_sum,
        "body": msgspec.msgpack.encode(track),
    }
    statement = insert(connection, drift_tracks).values(
        deployment=deployment, device=device, model=model, **values
    )
    key = ["deployment", "device", "model"]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=values))


def ratio(connection: Connection, model: str) -> float:
    """Return a model's mean error over its mean sigma, wherever it met labels."""
    columns = (func.sum(drift_tracks.c.error_sum), func.sum(drift_tracks.c.sigma_sum))
    errors, sigmas = connection.execute(select(*columns).filter_by(model=model)).one()
    return errors / sigmas if sigmas else MEAN_ERROR_OF_SIGMA


def move_cursor(connection: Connection, deployment: str) -> None:
    """Move a deployment's cursor to before its first manoeuvre without a summary."""
    cursor = _cursor(connection, deployment)
    query = (
        select(manoeuvres.c.id, drift_summaries.c.manoeuvre)
        .outerjoin(drift_summaries, drift_summaries.c.manoeuvre == manoeuvres.c.id)
        .where(manoeuvres.c.deployment == deployment, manoeuvres.c.id > cursor)
        .order_by(manoeuvres.c.id)
        .limit(4 * MOST_AT_ONCE)
    )
    reached = cursor
    for number, summarised in connection.execute(query):
        if summarised is None:
            break
        reached = number
    if reached > cursor:
        statement = insert(connection, drift_cursors).values(
            deployment=deployment, manoeuvre=reached
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["deployment"], set_={"manoeuvre": reached}
            )
        )


def forget(connection: Connection, device: str, numbers: Sequence[int]) -> None:
    """Forget what was made of manoeuvre rows of a car, and all that is remembered of the car."""
    connection.execute(
        delete(drift_summaries).where(drift_summaries.c.manoeuvre.in_(list(numbers)))
    )
    connection.execute(delete(drift_tracks).where(drift_tracks.c.device == device))


def erased(connection: Connection) -> tuple[int, int]:
    """Return how far erasures are: another value whenever summaries may have gone."""
    query = select(func.count(), func.coalesce(func.sum(erasures.c.reached), 0))
    requests, reached = connection.execute(query.select_from(erasures)).one()
    return int(requests), int(reached)


def training_of(connection: Connection, model: Row[Any]) -> list[int]:
    """Return the manoeuvres that a row of `models` was trained after, spread over all there are."""
    return _before(connection, model.deployment, model.since_manoeuvre)


def reference_of(connection: Connection, verdict: Row[Any]) -> tuple[int, ...]:
    """Return the manoeuvres that a row of `verdicts` was found beside, none where none are left."""
    key = {name: getattr(verdict, name) for name in ("deployment", "device", "model")}
    body = connection.scalar(select(drift_tracks.c.body).filter_by(**key))
    if body is None:
        return ()
    track = _tracks.decode(body)
    return (*track.training, *track.first)


def _cursor(connection: Connection, deployment: str) -> int:
    query = select(drift_cursors.c.manoeuvre).filter_by(deployment=deployment)
    return connection.scalar(query) or 0


def _before(connection: Connection, deployment: str, last: int) -> list[int]:
    """Return manoeuvres of a deployment up to the row `last`, spread over all there are."""
    query = (
        select(drift_summaries.c.manoeuvre)
        .where(
            drift_summaries.c.deployment == deployment,
            drift_summaries.c.manoeuvre <= last,
            drift_summaries.c.samples > 0,
        )
        .order_by(drift_summaries.c.manoeuvre)
    )
    every = connection.scalars(query).all()
    step = max(1, -(-len(every) // TRAINING))
    return list(every[::step])
