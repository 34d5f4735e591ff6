"""Groups of cars by what people say of them: labels such as place = garage.

Laws:
- a car has one value a label at most; a group is all cars whose labels say what is asked;
- setting labels replaces all of a car's, with an entry in the log book.
"""

import re
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, exists, insert, select
from sqlalchemy.sql import ColumnElement

from fleet_server import logbook
from fleet_server.storage.fleet_tables import device_labels
from fleet_server.storage.tables import devices
from shared.errors import RefusedError
from shared.ids import is_name

MOST_LABELS = 32

_VALUE = re.compile(r"[^\x00-\x1f\x7f=]{1,64}")


def set_labels(
    connection: Connection,
    *,
    device: str,
    labels: Mapping[str, str],
    actor: str,
    reason: str,
    utc_us: int,
) -> None:
    """Let `device` have `labels` and no others, in the open transaction.

    Raises:
        RefusedError: there is no such car, or a label is malformed, or there are too many.
    """
    check(labels)
    car = connection.execute(select(devices).filter_by(name=device)).one_or_none()
    if car is None:
        raise RefusedError(f"no car is called {device}")
    before = labels_of(connection, [device]).get(device, {})
    if before == labels:
        return
    connection.execute(delete(device_labels).where(device_labels.c.device == device))
    if labels:
        rows = [{"device": device, "name": name, "value": labels[name]} for name in labels]
        connection.execute(insert(device_labels), rows)
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment=car.deployment,
        kind="label",
        reason=reason,
        actor=actor,
        evidence={"device": device, "labels": dict(labels), "before": before},
    )


def labels_of(connection: Connection, cars: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the labels of each of `cars` that has any."""
    query = select(device_labels).where(device_labels.c.device.in_(list(cars)))
    found: dict[str, dict[str, str]] = {}
    for row in connection.execute(query.order_by(device_labels.c.device, device_labels.c.name)):
        found.setdefault(row.device, {})[row.name] = row.value
    return found


def in_group(labels: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Return the conditions on `devices` that a car has all of `labels`."""
    return [
        exists().where(
            device_labels.c.device == devices.c.name,
            device_labels.c.name == name,
            device_labels.c.value == value,
        )
        for name, value in labels.items()
    ]


def parse(texts: Iterable[str]) -> dict[str, str]:
    """Return the labels in texts such as "place=garage".

    Raises:
        RefusedError: a text is no label, or names one twice.
    """
    labels: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name in labels:
            raise RefusedError(f"{text[:80]!r} is no label such as place=garage, each once")
        labels[name] = value
    check(labels)
    return labels


def check(labels: Mapping[str, str]) -> None:
    """Return quietly where `labels` are labels.

    Raises:
        RefusedError: they are not, or too many.
    """
    if len(labels) > MOST_LABELS:
        raise RefusedError(f"{len(labels)} labels: a car has at most {MOST_LABELS}")
    for name, value in labels.items():
        if not is_name(name) or not _VALUE.fullmatch(value):
            raise RefusedError(
                f"{name[:64]!r} = {value[:64]!r} is no label: a name, and 1 to 64 plain characters"
            )
