"""TLS for a broker, and where one may listen without it.

Laws:
- without TLS a broker listens to this machine alone: names, secrets and pictures would be read on
  the way;
- a certificate asked of clients comes before a name and its secret, never in their place: rights
  belong to the name, and who is removed needs no list of certificates.
"""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Tls:
    """A listener's certificate and key; with `ca_file`, clients need a certificate of that."""

    cert_file: Path
    key_file: Path
    ca_file: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that must be there."""
        own = (self.cert_file, self.key_file)
        return own if self.ca_file is None else (*own, self.ca_file)


def tls_of(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> Tls | None:
    """Return the TLS that options describe, or None where none is wanted.

    Raises:
        UsageError: half of it is missing, or a file is.
    """
    if cert_file is None and key_file is None and ca_file is None:
        return None
    if cert_file is None or key_file is None:
        raise UsageError("TLS needs both --cert-file and --key-file")
    tls = Tls(cert_file=cert_file, key_file=key_file, ca_file=ca_file)
    for file in tls.files:
        if not file.is_file():
            raise UsageError(f"no certificate or key in {file}")
    return tls


def check_listener(host: str, tls: Tls | None) -> None:
    """Return quietly where a broker may listen on `host`.

    Raises:
        UsageError: it would be heard beyond this machine without TLS.
    """
    if tls is None and not is_loopback(host):
        raise UsageError(
            f"without TLS a broker listens on 127.0.0.1 only, not on {host}: "
            "give --cert-file and --key-file"
        )


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return what the embedded broker listens with.

    Raises:
        UsageError: a file is no certificate or key, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
        if tls.ca_file is not None:
            context.load_verify_locations(cafile=tls.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError:
        named = ", ".join(map(str, tls.files))
        raise UsageError(
            f"{named}: no certificate with its key, as PEM, that TLS can use"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot use {tls.cert_file}: {error.strerror}") from None
    return context
