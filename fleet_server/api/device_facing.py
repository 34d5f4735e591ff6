"""What cars call over REST: to join, and to change their keys. All else they say over MQTT."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter

from fleet_server.api.bodies import EnrolmentClaim, KeyRotation
from fleet_server.api.context import Context, Served
from fleet_server.api.problems import documented
from fleet_server.cars import membership, standing
from fleet_server.cars.membership import CodeMisusedError
from fleet_server.telling import alerts
from fleet_server.telling.alerts import Cause
from shared.credentials import Rotation
from shared.errors import UsageError

router = APIRouter(prefix="/api/v1", tags=["cars"])


@dataclass(frozen=True, kw_only=True)
class BrokerAddress:
    """Where the broker is; `ca_pem` is the certificate authority to trust, None without TLS."""

    host: str
    port: int
    ca_pem: str | None


@dataclass(frozen=True, kw_only=True)
class ClaimedEnrolment:
    """All that a car needs: whom to talk to and whom to believe."""

    device: str
    deployment: str
    broker: BrokerAddress
    server_public_key: str
    tuf_root: str
    task: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """The key that counts for the car from now on."""

    device: str
    public_key: str


@router.post("/enrolments/claim", responses=documented(400, 413, 422, 503))
def claim_enrolment(body: EnrolmentClaim, context: Served) -> ClaimedEnrolment:
    """Enrol the car that holds the code; the code is its right to do so, once."""
    root = context.repository.root().decode()
    broker = _broker(context)
    try:
        enrolled = _claim(body, context)
    except CodeMisusedError as error:
        with context.database.write() as connection:
            alerts.raise_alert(connection, _misuse(error), utc_us=context.clock.utc_us())
        raise
    return ClaimedEnrolment(
        device=enrolled.device,
        deployment=enrolled.deployment,
        broker=broker,
        server_public_key=context.key.public.raw.hex(),
        tuf_root=root,
        task=msgspec.to_builtins(enrolled.task),
    )


@router.post("/enrolments/rotate", responses=documented(400, 413, 422, 503))
def rotate_keys(body: KeyRotation, context: Served) -> Rotated:
    """Put an enrolled car's new keys in force; the key in force is its right to do so."""
    rotation = Rotation(
        device=body.device,
        public_key=bytes.fromhex(body.public_key),
        mqtt_secret_sha256=body.mqtt_secret_sha256,
        mqtt_verifier=body.mqtt_verifier,
        by_present=bytes.fromhex(body.by_present),
        by_new=bytes.fromhex(body.by_new),
    )
    with context.database.read() as connection:
        standing.check_rotation(connection, rotation)
    with context.database.write() as connection:
        standing.rotate(
            connection,
            context.state,
            rotation,
            utc_us=context.clock.utc_us(),
            overlap_us=round(context.settings.key_overlap_s * 1e6),
        )
    return Rotated(device=body.device, public_key=body.public_key)


def _claim(body: EnrolmentClaim, context: Context) -> membership.Enrolled:
    with context.database.read() as connection:
        membership.check_code_is_known(connection, body.code)
    with context.database.write() as connection:
        return membership.claim_code(
            connection,
            context.state,
            code=body.code,
            device=body.device,
            public_key=bytes.fromhex(body.public_key),
            mqtt_secret_sha256=body.mqtt_secret_sha256,
            mqtt_verifier=body.mqtt_verifier,
            confirm=context.settings.confirm_devices,
            utc_us=context.clock.utc_us(),
        )


def _misuse(error: CodeMisusedError) -> Cause:
    return Cause(
        key=f"enrolment-code-misused {error.enrolment}",
        kind="enrolment-code-misused",
        severity="critical",
        subject=error.device,
        reason=str(error),
        deployment=error.deployment,
    )


def _broker(context: Context) -> BrokerAddress:
    settings = context.settings
    return BrokerAddress(
        host=settings.advertised_broker_host or settings.broker_host,
        port=settings.advertised_broker_port or settings.broker_port,
        ca_pem=_read_ca(settings.broker_ca_file),
    )


def _read_ca(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return Path(name).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read broker_ca_file {name}: {error}") from None
