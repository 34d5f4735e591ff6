"""A console's folder: its keys, the server's grant, and what it connects with.

Laws:
- keys and secret are made here, in files of mode 0600 in a folder of mode 0700, and stay here;
- the grant is written last and kept as the server signed it: where it lies and holds, the keys lie
  too, and what it says was said by the server that it names;
- asking again shows the same key, so that a request that went astray can be sent once more.
"""

import os
import ssl
from dataclasses import dataclass, replace
from pathlib import Path

from fleet_server.terminal.papers import Grant, Request, Role, read_grant, write_request
from shared.credentials import SALT_BYTES, make_verifier
from shared.errors import UsageError
from shared.ids import is_name, is_sha256, sha256_hex
from shared.mqtt import Address
from shared.signing import SigningKey, VerifyKey, write_secret


@dataclass(frozen=True, kw_only=True)
class Access:
    """Everything that a console needs: who it is, where the broker is, and whom to believe."""

    name: str
    role: Role
    until_utc_us: int
    key: SigningKey
    server_key: VerifyKey
    address: Address


@dataclass(frozen=True)
class ConsoleHome:
    """The paths of one console's folder."""

    root: Path

    @property
    def signing_key(self) -> Path:
        """The console's Ed25519 key, which signs orders."""
        return self.root / "signing.key"

    @property
    def mqtt_secret(self) -> Path:
        """Its password at the broker, 64 hexadecimal digits."""
        return self.root / "mqtt.secret"

    @property
    def grant(self) -> Path:
        """What the server granted, one signed line; missing before that."""
        return self.root / "grant"

    @property
    def broker_ca(self) -> Path:
        """The broker's certificate authority; missing where it speaks no TLS."""
        return self.root / "broker-ca.pem"

    @property
    def broker_certificate(self) -> Path:
        """Our certificate for a broker that asks for one; put there by hand, its key beside it."""
        return self.root / "broker.crt"


def request(home: ConsoleHome, name: str) -> str:
    """Return the request of a person called `name`, with keys that are made where they are missing.

    Raises:
        UsageError: `name` is no name, or the folder cannot be used.
    """
    if not is_name(name):
        raise UsageError(f"--name {name!r}: use letters, digits, dots, hyphens and underscores")
    try:
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not home.mqtt_secret.exists():
            write_secret(home.mqtt_secret, os.urandom(32).hex().encode())
        key = SigningKey.load_or_create(home.signing_key)
    except OSError as error:
        raise UsageError(f"cannot write to {home.root}: {error.strerror}") from None
    secret = _secret(home)
    asked = Request(
        name=name,
        public_key=key.public.raw,
        mqtt_secret_sha256=sha256_hex(secret.encode()),
        mqtt_verifier=make_verifier(secret, os.urandom(SALT_BYTES)),
    )
    return write_request(asked, key)


def accept(home: ConsoleHome, text: str) -> Grant:
    """Keep the grant in `text` and return it.

    Raises:
        UsageError: it is no grant for this console's key, or the folder cannot be used.
    """
    grant = read_grant(text)
    _check_key(home, grant)
    try:
        home.broker_ca.unlink(missing_ok=True)
        if grant.broker_ca_pem is not None:
            write_secret(home.broker_ca, grant.broker_ca_pem.encode())
        write_secret(home.grant, "".join(text.split()).encode())
    except OSError as error:
        raise UsageError(f"cannot write to {home.root}: {error.strerror}") from None
    return grant


def load(home: ConsoleHome) -> Access:
    """Return what `home` holds.

    Raises:
        UsageError: it holds no grant, or something in it is missing or damaged.
    """
    try:
        text = home.grant.read_text(encoding="ascii")
    except FileNotFoundError:
        raise UsageError(
            f"no console is set up in {home.root}: see `parkfleet console enrol --help`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {home.grant}: {error}") from None
    grant = read_grant(text)
    _check_key(home, grant)
    return Access(
        name=grant.name,
        role=grant.role,
        until_utc_us=grant.until_utc_us,
        key=SigningKey.load(home.signing_key),
        server_key=VerifyKey(grant.server_public_key),
        address=_address(home, grant),
    )


def elsewhere(access: Access, place: str) -> Access:
    """Return `access` with the broker at `place`, "HOST:PORT".

    Raises:
        UsageError: `place` is not of that form.
    """
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        raise UsageError(f"--broker {place!r} is no HOST:PORT, such as 127.0.0.1:1883")
    return replace(access, address=replace(access.address, host=host, port=int(port)))


def _check_key(home: ConsoleHome, grant: Grant) -> None:
    if SigningKey.load(home.signing_key).public.raw != grant.public_key:
        raise UsageError(f"this grant is for another key than the one in {home.root}")


def _secret(home: ConsoleHome) -> str:
    try:
        secret = home.mqtt_secret.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {home.mqtt_secret}: {error}") from None
    if not is_sha256(secret):
        raise UsageError(f"{home.mqtt_secret} holds no secret: remove it and ask for a new grant")
    return secret


def _address(home: ConsoleHome, grant: Grant) -> Address:
    has_ca = grant.broker_ca_pem is not None
    if has_ca:
        # Here rather than by the network thread, which has nobody to tell.
        try:
            ssl.create_default_context(cafile=str(home.broker_ca))
        except OSError as error:  # ssl.SSLError is one.
            reason = error.strerror or "no certificate"
            raise UsageError(f"cannot use {home.broker_ca}: {reason}") from None
    return Address(
        host=grant.broker_host,
        port=grant.broker_port,
        user=grant.name,
        password=_secret(home),
        ca_file=str(home.broker_ca) if has_ca else None,
        certificate=_certificate(home) if has_ca else None,
    )


def _certificate(home: ConsoleHome) -> tuple[str, str] | None:
    own = home.broker_certificate
    if not own.exists():
        return None
    key = own.with_suffix(".key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(own, key)
    except OSError as error:
        reason = error.strerror or "no certificate with its key"
        raise UsageError(f"cannot use {own}: {reason}") from None
    return str(own), str(key)
