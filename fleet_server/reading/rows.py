"""How rows of several tables become one view.

Laws:
- a page costs a fixed number of queries, whatever its length: what belongs to several rows is
  looked up once for all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, select

from fleet_server.cars import groups, registry
from fleet_server.reading.views import DeviceView, ManoeuvreView
from fleet_server.storage.pages import Rows
from fleet_server.storage.tables import decisions, desired, manoeuvres, models, tallies
from shared.ids import is_sha256
from shared.messages import Status, UpdateEvent
from shared.releases import digest_in
from shared.samples import ManoeuvreEnd
from shared.signing import VerifyKey

_ends = msgspec.msgpack.Decoder(ManoeuvreEnd)


def versions_of(connection: Connection, digests: set[str | None]) -> dict[str | None, int]:
    """Return the version numbers of those `digests` that are registered models."""
    wanted = [digest for digest in digests if digest is not None]
    query = select(models.c.sha256, models.c.version).where(models.c.sha256.in_(wanted))
    return {row.sha256: row.version for row in connection.execute(query)}


def promotions(connection: Connection) -> dict[str, Row[Any]]:
    """Return the decision that promoted each model, by its digest."""
    query = select(decisions).where(decisions.c.kind == "promote").order_by(decisions.c.id)
    return {row.model: row for row in connection.execute(query)}


def device_views(connection: Connection, rows: Rows) -> tuple[DeviceView, ...]:
    """Return rows of `devices` as views."""
    ids = [row.desired for row in rows if row.desired is not None]
    in_force = connection.execute(select(desired).where(desired.c.id.in_(ids)))
    wanted = {row.device: row for row in in_force}
    targets = {row.target: _target_digest(row.target) for row in wanted.values()}
    versions = versions_of(connection, {row.loaded for row in rows} | set(targets.values()))
    labels = groups.labels_of(connection, [row.name for row in rows])
    return tuple(
        _device_view(row, wanted.get(row.name), targets, versions, labels.get(row.name, {}))
        for row in rows
    )


def _device_view(
    row: Row[Any],
    wanted: Row[Any] | None,
    targets: Mapping[str | None, str | None],
    versions: Mapping[str | None, int],
    labels: dict[str, str],
) -> DeviceView:
    status = msgspec.json.decode(row.status, type=Status) if row.status else None
    step = msgspec.json.decode(row.update_event, type=UpdateEvent) if row.update_event else None
    return DeviceView(
        id=row.id,
        device=row.name,
        deployment=row.deployment,
        fingerprint=VerifyKey(row.public_key).fingerprint,
        enrolled_utc_us=row.enrolled_utc_us,
        online=row.online,
        last_seen_utc_us=row.last_seen_utc_us,
        boot=row.boot,
        loaded=row.loaded,
        loaded_version=versions.get(row.loaded),
        desired_target=wanted.target if wanted else None,
        desired_version=versions.get(targets[wanted.target]) if wanted else None,
        desired_revision=wanted.revision if wanted else None,
        reported_revision=status.desired_revision if status else None,
        queue_depth=status.queue_depth if status else None,
        pairs_logged=status.pairs_logged if status else None,
        pairs_dropped=status.pairs_dropped if status else None,
        dropped=status.dropped if status else {},
        pairs_stored=row.pairs_stored,
        upload=status.upload if status else None,
        temperature_c=status.temperature_c if status else None,
        disk_free_bytes=status.disk_free_bytes if status else None,
        faults=status.faults if status else (),
        update=f"{step.state} {step.reason}".strip() if step else None,
        state=row.state,
        presence=registry.presence(
            online=row.online, is_silent=row.silent_since_utc_us is not None
        ),
        silences=row.silences,
        silent_since_utc_us=row.silent_since_utc_us,
        labels=labels,
    )


def _target_digest(target: str | None) -> str | None:
    """Return the digest that ends a release path, or None."""
    name = digest_in(target or "")
    return name if is_sha256(name) else None


def manoeuvre_views(connection: Connection, rows: Rows) -> tuple[ManoeuvreView, ...]:
    """Return rows of `manoeuvres` as views."""
    sums = manoeuvre_sums(connection, [row.id for row in rows])
    versions = versions_of(
        connection, {led.model for each in sums.values() for led in each if led.model}
    )
    return tuple(_manoeuvre_view(row, sums.get(row.id, []), versions) for row in rows)


def manoeuvre_sums(connection: Connection, ids: Sequence[int]) -> dict[int, list[Row[Any]]]:
    """Return the tallies of each manoeuvre row in `ids`, the one that led most first."""
    query = (
        select(manoeuvres.c.id, tallies)
        .join(
            tallies,
            and_(
                *(tallies.c[name] == manoeuvres.c[name] for name in ("device", "boot", "manoeuvre"))
            ),
        )
        .where(manoeuvres.c.id.in_(ids))
        .order_by(manoeuvres.c.id, tallies.c.led.desc(), tallies.c.model)
    )
    found: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.id, []).append(row)
    return found


def _manoeuvre_view(
    row: Row[Any], sums: list[Row[Any]], versions: Mapping[str | None, int]
) -> ManoeuvreView:
    end = _ends.decode(row.body)
    every = next((each for each in sums if not each.model), None)
    led = next((each for each in sums if each.model and each.led), None)
    return ManoeuvreView(
        id=row.id,
        device=row.device,
        boot=row.boot,
        manoeuvre=row.manoeuvre,
        deployment=row.deployment,
        source=end.source,
        reason=end.reason,
        started_utc_us=end.started_utc_us,
        ended_utc_us=end.ended_utc_us,
        received_utc_us=row.received_utc_us,
        pairs=end.pairs,
        pairs_stored=every.samples if every else 0,
        model=led.model if led else None,
        model_version=versions.get(led.model) if led else None,
        mae=led.error_sum / led.labelled if led and led.labelled else None,
        mean_label=every.label_sum / every.labelled if every and every.labelled else None,
        stop_label=end.stop_label,
        stop_estimate=end.stop_estimate,
    )
