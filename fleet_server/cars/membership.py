"""Who belongs to the fleet: deployments, enrolment of cars.

Laws:
- an enrolment code names one car, is worth one use, and that for a quarter of an hour; only its
  SHA-256 is stored, and a second use is logged as an alarm;
- a code carries the digests of the server's key and of the release root, so that a car can tell
  whether it reached the server that the operator meant;
- a car is known to the broker and to the database together or not at all.
"""

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from fleet_server import logbook
from fleet_server.broker import users
from fleet_server.cars.standing import State
from fleet_server.rollout import deploying
from fleet_server.storage import upsert
from fleet_server.storage.fleet_tables import former_keys
from fleet_server.storage.tables import deployments, devices, enrolments
from shared.credentials import is_verifier
from shared.errors import RefusedError
from shared.ids import is_device_name, is_name, is_sha256, sha256_hex
from shared.signing import VerifyKey
from shared.task import Task

logger = logging.getLogger(__name__)

_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """A car that was just enrolled."""

    device: str
    deployment: str
    task: Task


class CodeMisusedError(RefusedError):
    """A code came a second time or from another car: somebody should look into that."""

    def __init__(self, text: str, *, device: str, deployment: str, enrolment: int) -> None:
        """Name the car that the code was made for, its deployment, and the code's row."""
        super().__init__(text)
        self.device = device
        self.deployment = deployment
        self.enrolment = enrolment


def create_deployment(
    connection: Connection, *, name: str, task: Task, actor: str, reason: str, utc_us: int
) -> None:
    """Add a deployment.

    Raises:
        RefusedError: `name` is no name, or is taken, or the task's name is another task's.
    """
    if not is_name(name):
        raise RefusedError(f"{name!r} is no name for a deployment")
    for text in connection.scalars(select(deployments.c.task).distinct()):
        known = msgspec.json.decode(text, type=Task)
        # A sample names its task by name alone.
        if known.name == task.name and known != task:
            raise RefusedError(f"there is another task {task.name} already")
    added = connection.scalar(
        upsert.insert(connection, deployments)
        .values(name=name, task=msgspec.json.encode(task).decode(), created_utc_us=utc_us)
        .on_conflict_do_nothing()
        .returning(deployments.c.id)
    )
    if added is None:
        raise RefusedError(f"there is a deployment {name} already")
    logbook.write(
        connection,
        utc_us=utc_us,
        deployment=name,
        kind="create-deployment",
        reason=reason,
        actor=actor,
        evidence={"task": task.name},
    )


def move(connection: Connection, device: str, deployment: str) -> None:
    """Put an enrolled car into `deployment`.

    Raises:
        RefusedError: there is no such deployment, or it is retired, or of another task: a car keeps
            the task that it enrolled for, and would refuse every model of another.
    """
    enrolled = _task(connection, logbook.deployment_of(connection, device))
    wanted = _task(connection, deployment)
    if wanted.name != enrolled.name:
        raise RefusedError(
            f"{device} enrolled for the task {enrolled.name}, {deployment} is of {wanted.name}: "
            f"enrol the car anew with a code for {deployment}"
        )
    deploying.check_open(connection, deployment)
    connection.execute(
        update(devices).where(devices.c.name == device).values(deployment=deployment)
    )


def create_code(
    connection: Connection,
    *,
    device: str,
    deployment: str,
    server_key_id: str,
    root_sha256: str,
    utc_us: int,
    valid_us: int,
) -> tuple[str, int]:
    """Return an enrolment code for `device` and when it expires (UTC microseconds).

    Raises:
        RefusedError: `device` is no name of a car, or there is no such deployment.
    """
    if not is_device_name(device):
        raise RefusedError(f"{device!r} names no car: 2 to 48 of a-z, 0-9 and inner hyphens")
    if users.is_reserved(device):
        raise RefusedError(f"{device!r} is a name of the server: call the car something else")
    _task(connection, deployment)
    deploying.check_open(connection, deployment)
    code = ".".join((secrets.token_urlsafe(16), server_key_id, root_sha256[:_DIGITS]))
    connection.execute(
        insert(enrolments).values(
            code_sha256=sha256_hex(code.encode()),
            device=device,
            deployment=deployment,
            created_utc_us=utc_us,
            expires_utc_us=utc_us + valid_us,
        )
    )
    return code, utc_us + valid_us


def claim_code(
    connection: Connection,
    state: Path,
    *,
    code: str,
    device: str,
    public_key: bytes,
    mqtt_secret_sha256: str,
    utc_us: int,
    mqtt_verifier: str | None = None,
    confirm: bool = False,
) -> Enrolled:
    """Enrol `device` by `code`, with its own keys, in the open transaction.

    Where `confirm` is set, a person has to confirm it before it counts (`standing`).

    Raises:
        CodeMisusedError: the code was used already, or is another car's.
        RefusedError: it is unknown or expired, or a key is malformed.
    """
    row = _enrolment(connection, code)
    _check_code(row, device, utc_us)
    deploying.check_open(connection, row.deployment)
    if not is_sha256(mqtt_secret_sha256):
        raise RefusedError("mqtt_secret_sha256 must be 64 lower-case hexadecimal digits")
    if mqtt_verifier is not None and not is_verifier(mqtt_verifier):
        raise RefusedError("mqtt_verifier is no digest of mosquitto's")
    standing: State = "unconfirmed" if confirm else "confirmed"
    _enter(
        connection,
        device=device,
        deployment=row.deployment,
        key=VerifyKey(public_key),
        standing=standing,
        utc_us=utc_us,
    )
    connection.execute(
        update(enrolments).where(enrolments.c.id == row.id).values(used_utc_us=utc_us)
    )
    # Inside the transaction: a kill before its commit leaves a broker user without a car, whom the
    # next use of the code replaces, and never a car that the broker turns away.
    users.add_user(
        state,
        device,
        role="device",
        secret_sha256=mqtt_secret_sha256,
        verifier=mqtt_verifier,
    )
    logger.info("enrolled device=%s deployment=%s %s", device, row.deployment, standing)
    return Enrolled(
        device=device, deployment=row.deployment, task=_task(connection, row.deployment)
    )


def check_code_is_known(connection: Connection, code: str) -> None:
    """Return quietly where `code` is one of ours, good or not; reading alone says so.

    Raises:
        RefusedError: it is a stranger's guess, which is to keep no writer waiting.
    """
    _enrolment(connection, code)


def _enrolment(connection: Connection, code: str) -> Row[Any]:
    digest = sha256_hex(code.encode("utf-8", "replace"))
    row = connection.execute(select(enrolments).filter_by(code_sha256=digest)).one_or_none()
    if row is None:
        raise RefusedError("this code is not valid for this car: ask for a new one")
    return row


def _check_code(row: Row[Any], device: str, utc_us: int) -> None:
    """Return quietly where the code of `row` is still good for `device`."""
    if row.used_utc_us is not None:
        logger.error("enrolment_code_used_twice device=%s enrolment=%d", row.device, row.id)
        raise CodeMisusedError(
            "this code was used already: if not by you, revoke that car",
            device=row.device,
            deployment=row.deployment,
            enrolment=row.id,
        )
    if row.device != device:
        logger.error("enrolment_code_of_another_car device=%s enrolment=%d", row.device, row.id)
        raise CodeMisusedError(
            "this code is not valid for this car: ask for a new one",
            device=row.device,
            deployment=row.deployment,
            enrolment=row.id,
        )
    if row.expires_utc_us < utc_us:
        raise RefusedError("this code has expired: ask for a new one")


def _enter(
    connection: Connection,
    *,
    device: str,
    deployment: str,
    key: VerifyKey,
    standing: State,
    utc_us: int,
) -> None:
    """Write the car down. Its former keys, and what was reported under them, count no more."""
    connection.execute(
        update(former_keys)
        .where(former_keys.c.device == device, former_keys.c.until_utc_us >= utc_us)
        .values(until_utc_us=utc_us - 1)
    )
    fresh = {
        "public_key": key.raw,
        "deployment": deployment,
        "enrolled_utc_us": utc_us,
        "online": False,
        "boot": None,
        "connection": 0,
        "state": standing,
        "silent_since_utc_us": None,
    }
    connection.execute(
        upsert.insert(connection, devices)
        .values(name=device, **fresh)
        .on_conflict_do_update(index_elements=["name"], set_=fresh)
    )
    decision = logbook.write(
        connection,
        utc_us=utc_us,
        deployment=deployment,
        kind="enrol",
        reason=f"{device} was enrolled with a one-time code",
        actor=device,
        evidence={"device": device, "fingerprint": key.fingerprint, "state": standing},
    )
    if standing == "confirmed":
        logbook.set_desired(
            connection, device, deployment=deployment, decision=decision, utc_us=utc_us
        )


def _task(connection: Connection, deployment: str) -> Task:
    text = connection.scalar(select(deployments.c.task).filter_by(name=deployment))
    if text is None:
        names = ", ".join(connection.scalars(select(deployments.c.name))) or "none"
        raise RefusedError(f"there is no deployment {deployment!r}; there are: {names[:100]}")
    return msgspec.json.decode(text, type=Task)
