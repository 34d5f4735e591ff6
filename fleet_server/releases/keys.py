"""Keys of the release repository, as files of 32 raw bytes, for python-tuf to sign with.

Laws:
- a key is created once and never written over;
- a private key leaves its file only into a signer, which shows nothing but the public half.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from shared.errors import UsageError
from shared.signing import SigningKey

_SECRET_BYTES = 32


def load_signer(path: Path) -> CryptoSigner:
    """Return a signer with the Ed25519 key in `path`.

    Raises:
        UsageError: there is no readable key of 32 bytes.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the key {path}: {error.strerror}") from None
    if len(raw) != _SECRET_BYTES:
        raise UsageError(f"{path} is not a key file: {len(raw)} bytes instead of {_SECRET_BYTES}")
    return signer(raw)


def load_or_create_signer(path: Path) -> CryptoSigner:
    """Return a signer with the key in `path`, created with mode 0600 where it is missing.

    Raises:
        UsageError: the key cannot be read or written.
    """
    try:
        SigningKey.load_or_create(path)
    except OSError as error:
        raise UsageError(f"cannot write the key {path}: {error.strerror}") from None
    return load_signer(path)


def signer(secret: bytes) -> CryptoSigner:
    """Return a signer with the 32 secret bytes of an Ed25519 private key."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(secret))
