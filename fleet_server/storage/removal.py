"""The change that an erasure makes to one batch and to all that was written down from it.

Laws:
- everything happens in the open transaction: rows, sums, counters, tombstones, the batch's bytes;
- the training jobs that may have learned from what goes are named before it goes;
- the sums of a manoeuvre are made anew from what is left of it, never by subtraction.
"""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, func, insert, select, update

from fleet_server.storage import drift_store, records, tombs
from fleet_server.storage.erasure_tables import doomed, erasure_jobs, erasures
from fleet_server.storage.report_tables import annotations
from fleet_server.storage.rewriting import Rewriting, of_keys
from fleet_server.storage.tables import (
    batches,
    deployments,
    devices,
    manoeuvres,
    of_a_pair,
    pictures,
    samples,
    tallies,
    training_jobs,
)
from fleet_server.storage.tombs import Key
from fleet_server.storage.upsert import insert as insert_or
from fleet_server.storage.upsert import insert_rows
from shared.samples import Sample

_samples = msgspec.msgpack.Decoder(Sample)


def apply(
    connection: Connection, row: Row[Any], plan: Rewriting, *, erasure: int, utc_us: int
) -> None:
    """Carry out `plan` on the batch in `row`; count what went at the erasure of that id."""
    _name_jobs(connection, plan, erasure)
    touched = _touched(connection, plan)
    _forget(connection, plan.device, touched)
    _uncount(connection, plan)
    lost = {
        table.name: _delete(connection, table, plan.device, keys)
        for table, keys in (
            (samples, plan.pairs),
            (pictures, plan.pairs),
            (manoeuvres, plan.ends),
            (annotations, plan.pairs),
        )
    }
    for boot, manoeuvre in touched:
        _tally_anew(connection, plan.device, boot, manoeuvre)
    connection.execute(
        update(devices)
        .where(devices.c.name == plan.device)
        .values(
            pairs_stored=devices.c.pairs_stored - lost[samples.name],
            pictures_stored=devices.c.pictures_stored - lost[pictures.name],
        )
    )
    _rewrite(connection, row, plan, erasure=erasure, utc_us=utc_us)
    _bury(connection, plan, erasure)
    connection.execute(
        update(erasures)
        .where(erasures.c.id == erasure)
        .values(
            samples=erasures.c.samples + lost[samples.name],
            pictures=erasures.c.pictures + lost[pictures.name],
            manoeuvres=erasures.c.manoeuvres + lost[manoeuvres.name],
            batches=erasures.c.batches + 1,
        )
    )


def _name_jobs(connection: Connection, plan: Rewriting, erasure: int) -> None:
    pairs: list[Row[Any]] = []
    for where in of_keys(samples, plan.device, plan.pairs):
        query = select(samples.c.deployment, samples.c.id, pictures.c.id.label("picture"))
        pairs += connection.execute(query.join(pictures, of_a_pair()).where(where))
    learners = select(training_jobs).where(
        training_jobs.c.deployment.in_({row.deployment for row in pairs}),
        training_jobs.c.cut_sample.is_not(None),
    )
    for job in connection.execute(learners).all() if pairs else ():
        learned = sum(
            row.deployment == job.deployment
            and row.id <= job.cut_sample
            and row.picture <= job.cut_picture
            for row in pairs
        )
        if learned:
            insert_rows(
                connection,
                erasure_jobs,
                ("erasure", "job", "pairs"),
                [(erasure, job.id, learned)],
                key=("erasure", "job"),
                sums=("pairs",),
            )


def _uncount(connection: Connection, plan: Rewriting) -> None:
    """Take what goes off the deployments' counts."""
    for where in of_keys(samples, plan.device, plan.pairs):
        query = select(samples.c.deployment, func.count()).where(where)
        for name, pairs in connection.execute(query.group_by(samples.c.deployment)).all():
            values = {"pairs_stored": deployments.c.pairs_stored - pairs}
            connection.execute(update(deployments).where(deployments.c.name == name).values(values))


def _touched(connection: Connection, plan: Rewriting) -> set[Key]:
    found: set[Key] = set(plan.ends)
    for where in of_keys(samples, plan.device, plan.pairs):
        query = select(samples.c.boot, samples.c.manoeuvre).where(where).distinct()
        found |= {(row.boot, row.manoeuvre) for row in connection.execute(query)}
    return found


def _forget(connection: Connection, device: str, touched: Collection[Key]) -> None:
    """Forget what drift was told of by manoeuvres that lose anything."""
    numbers: list[int] = []
    for where in of_keys(manoeuvres, device, touched):
        numbers += connection.scalars(select(manoeuvres.c.id).where(where))
    if touched:
        drift_store.forget(connection, device, numbers)


def _delete(connection: Connection, table: Table, device: str, keys: Collection[Key]) -> int:
    deleted = 0
    for where in of_keys(table, device, keys):
        deleted += connection.execute(table.delete().where(where)).rowcount
    return deleted


def _tally_anew(connection: Connection, device: str, boot: str, manoeuvre: int) -> None:
    connection.execute(
        tallies.delete().where(
            tallies.c.device == device,
            tallies.c.boot == boot,
            tallies.c.manoeuvre == manoeuvre,
        )
    )
    query = select(samples.c.id, samples.c.body).filter_by(
        device=device, boot=boot, manoeuvre=manoeuvre
    )
    rest = connection.execute(query.order_by(samples.c.id)).all()
    if rest:
        rows = records.tally([_samples.decode(row.body) for row in rest])
        tallied = records.counted_from(rows, rest[0].id)
        insert_rows(connection, tallies, records.TALLY_COLUMNS, tallied)


def _rewrite(
    connection: Connection, row: Row[Any], plan: Rewriting, *, erasure: int, utc_us: int
) -> None:
    if row.external:
        statement = insert_or(connection, doomed).values(sha256=row.sha256, utc_us=utc_us)
        connection.execute(statement.on_conflict_do_nothing())
    if plan.left is None:
        connection.execute(batches.delete().where(batches.c.id == row.id))
        return
    connection.execute(
        update(batches)
        .where(batches.c.id == row.id)
        .values(
            sha256=plan.sha256,
            body=b"" if row.external else plan.body,
            size_bytes=len(plan.body),
            samples=len(plan.left.samples),
            manoeuvres=len(plan.left.manoeuvres),
            pictures=len(plan.left.pictures),
            rewritten_by=erasure,
        )
    )
    for device, boot, sequence, _, offset, _ in records.picture_rows(plan.left.pictures, plan.body):
        where = pictures.update().filter_by(device=device, boot=boot, sequence=sequence)
        connection.execute(where.values(offset=offset))


def _bury(connection: Connection, plan: Rewriting, erasure: int) -> None:
    kinds: tuple[tuple[tombs.Kind, Collection[Key]], ...] = (
        ("sample", plan.pairs),
        ("manoeuvre", plan.ends),
    )
    for kind, keys in kinds:
        fresh = set(keys) - tombs.among(connection, plan.device, kind, set(keys))
        tombs.dig(connection, plan.device, kind, fresh, erasure=erasure)


def doomed_digests(connection: Connection) -> list[str]:
    """Return the objects that are to be deleted."""
    return list(connection.scalars(select(doomed.c.sha256)))


def doom_orphans(connection: Connection, digests: Collection[str], utc_us: int) -> int:
    """Enter those of `digests` that no row names among the doomed; return how many."""
    kept = set(
        connection.scalars(select(batches.c.sha256).where(batches.c.sha256.in_(list(digests))))
    )
    kept |= set(doomed_digests(connection))
    rows = [{"sha256": digest, "utc_us": utc_us} for digest in set(digests) - kept]
    if rows:
        connection.execute(insert(doomed), rows)
    return len(rows)


def forget_doomed(connection: Connection, before_utc_us: int) -> int:
    """Strike the objects off that were doomed, and deleted since, before that moment."""
    return connection.execute(doomed.delete().where(doomed.c.utc_us < before_utc_us)).rowcount
