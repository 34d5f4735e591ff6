"""Tombstones: the keys of what was erased, so that a late repeat cannot bring it back.

Laws:
- a tombstone holds keys and nothing else; consecutive numbers of one boot share a row;
- a sample's tombstone stands for its picture too.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Literal

from sqlalchemy import Connection, bindparam, exists, insert, select

from fleet_server.storage.erasure_tables import tombstones
from fleet_server.storage.tables import devices
from shared.errors import RefusedError
from shared.messages import Batch

Kind = Literal["sample", "manoeuvre"]

Key = tuple[str, int]
"""A boot, and a number in it: the sequence of a sample, or that of a manoeuvre."""


class ErasedError(RefusedError):
    """A record was erased; nobody may keep it, not even with the reason for its refusal."""

    def __init__(self) -> None:
        """Say so, and no more."""
        super().__init__("erased")


_WITH = select(devices.c.name).where(
    devices.c.name.in_(bindparam("names", expanding=True)),
    exists().where(tombstones.c.device == devices.c.name),
)


def devices_with(connection: Connection, names: Collection[str]) -> set[str]:
    """Return those of `names` of whose records some are erased."""
    return set(connection.scalars(_WITH, {"names": list(names)}))


def hold(connection: Connection, batch: Batch) -> bool:
    """Tell whether any record of `batch` is erased."""
    pairs = {(each.boot, each.sequence) for each in batch.samples}
    pairs |= {(each.boot, each.sequence) for each in batch.pictures}
    ends = {(each.boot, each.manoeuvre) for each in batch.manoeuvres}
    return bool(
        among(connection, batch.device, "sample", pairs)
        or among(connection, batch.device, "manoeuvre", ends)
    )


def among(connection: Connection, device: str, kind: Kind, keys: set[Key]) -> set[Key]:
    """Return those of `keys` that are erased."""
    found: set[Key] = set()
    for boot in {boot for boot, _ in keys}:
        numbers = [number for other, number in keys if other == boot]
        query = select(tombstones.c.first, tombstones.c.last).where(
            tombstones.c.device == device,
            tombstones.c.boot == boot,
            tombstones.c.kind == kind,
            tombstones.c.first <= max(numbers),
            tombstones.c.last >= min(numbers),
        )
        for row in connection.execute(query):
            found |= {(boot, number) for number in numbers if row.first <= number <= row.last}
    return found


def dig(connection: Connection, device: str, kind: Kind, keys: set[Key], *, erasure: int) -> None:
    """Enter the tombstones of `keys`, none of which has one."""
    rows = [
        {
            "device": device,
            "boot": boot,
            "kind": kind,
            "first": first,
            "last": last,
            "erasure": erasure,
        }
        for boot, first, last in stretches(keys)
    ]
    if rows:
        connection.execute(insert(tombstones), rows)


def stretches(keys: Iterable[Key]) -> Iterator[tuple[str, int, int]]:
    """Yield `keys` as stretches of consecutive numbers of one boot: boot, first, last.

    >>> list(stretches({("a", 1), ("a", 2), ("b", 3), ("a", 5)}))
    [('a', 1, 2), ('a', 5, 5), ('b', 3, 3)]
    """
    boot, first, last = "", 0, -1
    for key in sorted(keys):
        if key == (boot, last + 1):
            last += 1
            continue
        if last >= first:
            yield boot, first, last
        boot, first, last = *key, key[1]
    if last >= first:
        yield boot, first, last
