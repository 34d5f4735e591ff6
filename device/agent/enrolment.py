"""What a car knows of its fleet: `enrolment.json`, written once by `device enrol`.

Laws:
- the file is written last: where it lies, the keys and the trusted root lie too;
- it holds no secret: keys are files of their own.
"""

import ssl
from dataclasses import dataclass
from typing import Annotated

import msgspec

from device.home import Home
from shared.errors import UsageError
from shared.ids import DeviceName, Name
from shared.mqtt import Address
from shared.signing import SigningKey, VerifyKey
from shared.task import Task

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Host = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
KeyHex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", max_length=64)]


class Enrolment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One car's place in its fleet; `server_public_key` is Ed25519 in hexadecimal."""

    device: DeviceName
    deployment: Name
    task: Task
    server_url: str
    server_public_key: KeyHex
    broker_host: Host
    broker_port: Port
    has_broker_ca: bool = False

    @property
    def server_key(self) -> VerifyKey:
        """The key that signs receipts, wishes and commands."""
        return VerifyKey(bytes.fromhex(self.server_public_key))


def load_enrolment(home: Home) -> Enrolment:
    """Return the enrolment in `home`.

    Raises:
        UsageError: the car is not enrolled, or the file is damaged.
    """
    try:
        return msgspec.json.decode(home.enrolment.read_bytes(), type=Enrolment)
    except FileNotFoundError:
        raise UsageError(
            f"{home.root} is not enrolled: run `parkfleet device enrol` with a code of the server"
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"cannot use {home.enrolment}: {error}; enrol again with --force"
        ) from None


def load_signing_key(home: Home) -> SigningKey:
    """Return the car's own key.

    Raises:
        UsageError: there is none; a car that is enrolled but lost it must enrol again.
    """
    return SigningKey.load(home.signing_key)


@dataclass(frozen=True)
class BrokerPlace:
    """Where a broker is reached."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "BrokerPlace":
        """Return the place in "host:port".

        Raises:
            UsageError: the text is not of that form.
        """
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:1883")
        return cls(host, int(port))


def broker_address(home: Home, enrolment: Enrolment, place: BrokerPlace | None = None) -> Address:
    """Return where and as whom to connect; `place` overrules where the server said.

    Raises:
        UsageError: the car's secret, its certificate or the broker's is missing or malformed.
    """
    try:
        secret = home.mqtt_secret.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {home.mqtt_secret}: {error}; enrol again") from None
    if enrolment.has_broker_ca:
        _check_ca(home)
    return Address(
        host=place.host if place else enrolment.broker_host,
        port=place.port if place else enrolment.broker_port,
        user=enrolment.device,
        password=secret,
        ca_file=str(home.broker_ca) if enrolment.has_broker_ca else None,
        certificate=_certificate(home) if enrolment.has_broker_ca else None,
    )


def _certificate(home: Home) -> tuple[str, str] | None:
    """Return the files that somebody put there for a broker that asks for a certificate."""
    files = (home.broker_certificate, home.broker_certificate_key)
    there = [file.exists() for file in files]
    if not any(there):
        return None
    if not all(there):
        raise UsageError(f"{files[0]} and {files[1].name} go together: one of them is missing")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*files)
    except OSError as error:  # ssl.SSLError is one.
        reason = error.strerror or "no certificate with its key"
        raise UsageError(f"cannot use {files[0]}: {reason}") from None
    return str(files[0]), str(files[1])


def _check_ca(home: Home) -> None:
    # Here rather than by the network thread, which has nobody to tell.
    try:
        ssl.create_default_context(cafile=str(home.broker_ca))
    except OSError as error:  # ssl.SSLError is one.
        reason = error.strerror or "no certificate"
        raise UsageError(
            f"cannot use {home.broker_ca}: {reason}; enrol again with --force"
        ) from None
