"""Keys of the release repository, as files of 32 raw bytes, for python-tuf to sign with.

Laws:
- a key is created once and never written over;
- a private key leaves its file only into a signer, which shows nothing but the public half.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from shared.errors import RetryLaterError, UsageError
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


def next_path(folder: Path, role: str) -> Path:
    """Return where the key lies that shall sign for `role` once a root names it."""
    return folder / f"{role}.next.key"


def load_role_signer(folder: Path, role: str, root: Root) -> CryptoSigner:
    """Return a signer with that key of `folder` which `root` names for `role`.

    A key that was prepared for the next root takes the place of the one before as soon as that root
    is in force, so that a kill between the two leaves nothing unsigned.

    Raises:
        UsageError: neither is; the text says for which role.
    """
    known, prepared = folder / f"{role}.key", next_path(folder, role)
    for path in (known, prepared):
        if path.exists():
            found = load_signer(path)
            if found.public_key.keyid in root.roles[role].keyids:
                return found
    if not known.exists():
        return load_signer(known)  # Says what is missing.
    raise UsageError(f"the root names another key for {role} than {known}")


def adopt(folder: Path, role: str) -> None:
    """Let the key that was prepared for `role` take the place of the one before, if there is one.

    Raises:
        RetryLaterError: the disk does not let us.
    """
    try:
        next_path(folder, role).replace(folder / f"{role}.key")
    except FileNotFoundError:
        return
    except OSError as error:
        raise RetryLaterError(f"cannot change the key of {role}: {error.strerror}") from None


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
