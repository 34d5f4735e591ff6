"""Where a car stands with its fleet: unconfirmed, confirmed or revoked, and with which keys.

    from          by                           to
    -             a code's claim               unconfirmed (confirmed where nobody need confirm)
    unconfirmed   an operator, fingerprint     confirmed
    any           a code's claim, new keys     unconfirmed (as above)
    any           an operator                  revoked

Laws:
- an unconfirmed car may connect and is shown; no batch of it is stored, no wish or order is said to
  it. What it records waits in its journal, so that nothing is lost by the wait;
- a person compares fingerprints: confirming names the one that was compared, and fails where the
  car's is another by now;
- a revoked car is unknown to the broker, which cuts it off, and nothing it sends is stored; only a
  new code brings its name back;
- a car that changes its keys signs the new one with the present one; for `overlap_us` batches that
  the former key signed are still taken, since they may lie in the broker.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from fleet_server import logbook
from fleet_server.broker import users
from fleet_server.storage.fleet_tables import former_keys
from fleet_server.storage.tables import devices
from shared.credentials import Rotation
from shared.errors import RefusedError, SignatureError
from shared.signing import VerifyKey

logger = logging.getLogger(__name__)

State = Literal["unconfirmed", "confirmed", "revoked"]


class NotWelcomeError(SignatureError):
    """The car is known and nothing of it is stored now: it is unconfirmed or revoked."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One car's state and the keys whose signatures count, the present one first."""

    state: State
    keys: tuple[VerifyKey, ...]


_PRESENT = select(devices.c.name, devices.c.public_key, devices.c.state).where(
    devices.c.name.in_(bindparam("cars", expanding=True))
)
_FORMER = (
    select(former_keys.c.device, former_keys.c.public_key)
    .where(
        former_keys.c.device.in_(bindparam("cars", expanding=True)),
        former_keys.c.until_utc_us >= bindparam("now_us"),
    )
    .order_by(former_keys.c.id.desc())
)


def of_cars(
    connection: Connection, cars: Collection[str], *, utc_us: int
) -> Mapping[str, Standing]:
    """Return where each of `cars` stands; cars that nobody knows are left out."""
    found = connection.execute(_PRESENT, {"cars": list(cars)}).all()
    former: dict[str, list[VerifyKey]] = {}
    for row in connection.execute(_FORMER, {"cars": list(cars), "now_us": utc_us}):
        former.setdefault(row.device, []).append(VerifyKey(row.public_key))
    return {
        row.name: Standing(
            state=row.state, keys=(VerifyKey(row.public_key), *former.get(row.name, ()))
        )
        for row in found
    }


def check_welcome(standing: Standing, device: str) -> None:
    """Return quietly where what the car sends is to be stored.

    Raises:
        NotWelcomeError: it is not, now or for good.
    """
    if standing.state != "confirmed":
        raise NotWelcomeError(f"{device} is {standing.state}")


def confirm(
    connection: Connection,
    *,
    device: str,
    fingerprint: str,
    actor: str,
    reason: str,
    utc_us: int,
) -> None:
    """Let a car take part whose key has `fingerprint`; again, where it does already, is no fault.

    Raises:
        RefusedError: there is no such car, it is revoked, or its key has another fingerprint.
    """
    car = _car(connection, device)
    if car.state == "revoked":
        raise RefusedError(f"{device} is revoked: enrol it anew")
    if VerifyKey(car.public_key).fingerprint != " ".join(fingerprint.split()):
        raise RefusedError(f"the key of {device} has another fingerprint: look at the car's own")
    if car.state == "confirmed":
        return
    connection.execute(update(devices).where(devices.c.id == car.id).values(state="confirmed"))
    decision = logbook.write(
        connection,
        utc_us=utc_us,
        deployment=car.deployment,
        kind="confirm",
        reason=reason,
        actor=actor,
        evidence={"device": device, "fingerprint": VerifyKey(car.public_key).fingerprint},
    )
    logbook.set_desired(
        connection,
        device,
        deployment=car.deployment,
        decision=decision,
        utc_us=utc_us,
        again=True,
    )
    logger.info("confirmed device=%s actor=%s", device, actor)


def revoke(
    connection: Connection, state: Path, *, device: str, actor: str, reason: str, utc_us: int
) -> None:
    """End a car's rights in the open transaction; the broker cuts it off within seconds.

    Raises:
        RefusedError: there is no such car, or it is revoked already.
        UsageError: the users file is broken.
    """
    car = _car(connection, device)
    if car.state == "revoked":
        raise RefusedError(f"{device} is revoked already")
    values = {"state": "revoked", "online": False, "silent_since_utc_us": None}
    connection.execute(update(devices).where(devices.c.id == car.id).values(values))
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment=car.deployment,
        kind="revoke",
        reason=reason,
        actor=actor,
        evidence={"device": device, "fingerprint": VerifyKey(car.public_key).fingerprint},
    )
    # Inside the transaction: a kill before its commit leaves a car that the broker turns away, and
    # revoking it again ends the matter.
    users.remove_user(state, device)
    logger.warning("revoked device=%s actor=%s", device, actor)


def rotate(
    connection: Connection, state: Path, rotation: Rotation, *, utc_us: int, overlap_us: int
) -> None:
    """Put a car's new keys in force in the open transaction; the same again changes nothing.

    Raises:
        RefusedError: there is no such car, it is revoked, or `rotation` is not signed by its
            present key and by the new one.
        UsageError: the users file is broken.
    """
    car = check_rotation(connection, rotation)
    new = VerifyKey(rotation.public_key)
    if new.raw != car.public_key:
        _replace_key(connection, car, new, utc_us=utc_us, overlap_us=overlap_us)
    users.add_user(
        state,
        car.name,
        role="device",
        secret_sha256=rotation.mqtt_secret_sha256,
        verifier=rotation.mqtt_verifier,
    )
    logger.info("keys_rotated device=%s fingerprint=%r", car.name, new.fingerprint)


def check_rotation(connection: Connection, rotation: Rotation) -> Row[Any]:
    """Return the car that may have what `rotation` asks for; reading alone says so.

    Raises:
        RefusedError: as for `rotate`; a stranger is to keep no writer waiting.
    """
    car = _car(connection, rotation.device)
    if car.state == "revoked":
        raise RefusedError(f"{car.name} is revoked: enrol it anew")
    # Sent again after its answer was lost, it is the key in force already.
    rotation.check(VerifyKey(car.public_key))
    return car


def _replace_key(
    connection: Connection, car: Row[Any], new: VerifyKey, *, utc_us: int, overlap_us: int
) -> None:
    connection.execute(
        insert(former_keys).values(
            device=car.name,
            public_key=car.public_key,
            replaced_utc_us=utc_us,
            until_utc_us=utc_us + overlap_us,
        )
    )
    connection.execute(update(devices).where(devices.c.id == car.id).values(public_key=new.raw))
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment=car.deployment,
        kind="rotate-keys",
        reason=f"{car.name} made itself new keys",
        actor=car.name,
        evidence={
            "device": car.name,
            "before": VerifyKey(car.public_key).fingerprint,
            "fingerprint": new.fingerprint,
        },
    )


def _car(connection: Connection, device: str) -> Row[Any]:
    car = connection.execute(select(devices).filter_by(name=device)).one_or_none()
    if car is None:
        raise RefusedError(f"no car is called {device}")
    return car
