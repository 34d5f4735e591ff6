"""What cars call over REST: one thing, once. Everything else they say over MQTT."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter

from fleet_server import membership
from fleet_server.api.bodies import EnrolmentClaim
from fleet_server.api.context import Context, Served
from fleet_server.api.problems import documented
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


@router.post("/enrolments/claim", responses=documented(422, 503))
def claim_enrolment(body: EnrolmentClaim, context: Served) -> ClaimedEnrolment:
    """Enrol the car that holds the code; the code is its right to do so, once."""
    root = context.repository.root().decode()
    broker = _broker(context)
    with context.database.write() as connection:
        enrolled = membership.claim_code(
            connection,
            context.state,
            code=body.code,
            device=body.device,
            public_key=bytes.fromhex(body.public_key),
            mqtt_secret_sha256=body.mqtt_secret_sha256,
            utc_us=context.clock.utc_us(),
        )
    return ClaimedEnrolment(
        device=enrolled.device,
        deployment=enrolled.deployment,
        broker=broker,
        server_public_key=context.key.public.raw.hex(),
        tuf_root=root,
        task=msgspec.to_builtins(enrolled.task),
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
