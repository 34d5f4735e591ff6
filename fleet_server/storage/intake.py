"""Storing what cars send: the bytes of batches and the rows that index them, as one change.

Laws:
- either everything of a batch is stored or nothing, whatever becomes of the others beside it;
- what is there already is stored no second time; the same key with other content is a conflict,
  an erased key is refused, and both change nothing;
- each car is noted to have been seen, whatever became of what it sent.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, select, update

from fleet_server.storage import tombs
from fleet_server.storage.erasure_tables import doomed
from fleet_server.storage.insertion import insert_batches
from fleet_server.storage.received import NOTHING_NEW, Accepted, Outcome, Stored
from fleet_server.storage.tables import batches, devices
from shared.errors import RetryLaterError


def store(
    connection: Connection, accepted: Sequence[Accepted], *, external: bool = False
) -> list[Outcome]:
    """Store batches in the open transaction; return what became of each, in their order.

    `external` says that their bytes are in the object store already. A batch that comes twice is
    a duplicate the second time.

    Raises:
        RetryLaterError: an object is about to be deleted; roll the transaction back.
    """
    if not accepted:
        return []
    known = _known(connection, accepted)
    erased = tombs.devices_with(connection, {each.received.device for each in accepted})
    found: dict[str, Outcome] = {}
    fresh: dict[str, Accepted] = {}
    for each in accepted:
        digest = each.received.sha256
        if digest in known:
            found[digest] = NOTHING_NEW
        elif each.received.device in erased and tombs.hold(connection, each.batch):
            found[digest] = tombs.ErasedError()
        else:
            fresh[digest] = each
    if external:
        _check_doomed(connection, fresh)
    found |= zip(
        fresh, insert_batches(connection, list(fresh.values()), external=external), strict=True
    )
    _see(connection, accepted, found)
    first = {each.received.sha256: place for place, each in reversed(list(enumerate(accepted)))}
    return [
        _again(found[each.received.sha256], is_first=first[each.received.sha256] == place)
        for place, each in enumerate(accepted)
    ]


def _again(outcome: Outcome, *, is_first: bool) -> Outcome:
    return NOTHING_NEW if isinstance(outcome, Stored) and not is_first else outcome


_KNOWN = select(batches.c.sha256).where(batches.c.sha256.in_(bindparam("digests", expanding=True)))


def _known(connection: Connection, accepted: Sequence[Accepted]) -> set[str]:
    digests = list({each.received.sha256 for each in accepted})
    return set(connection.scalars(_KNOWN, {"digests": digests}))


def _check_doomed(connection: Connection, digests: Iterable[str]) -> None:
    if connection.scalar(select(doomed.c.sha256).where(doomed.c.sha256.in_(list(digests)))):
        raise RetryLaterError("objects: one with these bytes is about to be deleted")


_SEE = (
    update(devices)
    .where(devices.c.name == bindparam("car"))
    .values(
        pairs_stored=devices.c.pairs_stored + bindparam("pairs"),
        pictures_stored=devices.c.pictures_stored + bindparam("jpegs"),
        last_seen_utc_us=bindparam("now_us"),
    )
)


def _see(connection: Connection, accepted: Sequence[Accepted], found: dict[str, Outcome]) -> None:
    """Note at each car how much came from it, and when."""
    cars: dict[str, dict[str, str | int]] = {}
    counted: set[str] = set()
    for each in accepted:
        outcome, received = found[each.received.sha256], each.received
        car = cars.setdefault(received.device, {"car": received.device, "pairs": 0, "jpegs": 0})
        car["now_us"] = received.utc_us
        if isinstance(outcome, Stored) and received.sha256 not in counted:
            counted.add(received.sha256)
            car["pairs"] = int(car["pairs"]) + outcome.samples
            car["jpegs"] = int(car["jpegs"]) + outcome.pictures
    if cars:
        connection.execute(_SEE, list(cars.values()))
