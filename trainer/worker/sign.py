"""A model's release: one more target in the trainer's own role of the release repository.

Laws:
- only metadata that our own key has signed is built upon: whoever serves another cannot make us
  sign what we never trained;
- the role's version rises by one, every earlier target stays, exactly one is added;
- the same inputs give the same bytes (Ed25519 is deterministic).
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization import DeserializationError

from shared.errors import RefusedError, UsageError
from shared.manifest import Manifest
from shared.releases import TARGETS_VALID, from_custom, target_path, to_custom

_LIMIT_BYTES = 512 * 1024


def load_signer(path: Path) -> CryptoSigner:
    """Return a signer with the Ed25519 key (32 raw bytes) in `path`.

    Raises:
        UsageError: there is no such key.
    """
    try:
        raw = path.read_bytes()
        return CryptoSigner(Ed25519PrivateKey.from_private_bytes(raw))
    except OSError as error:
        raise UsageError(
            f"cannot read the signing key {path}: {error.strerror}; "
            "'parkfleet releases init --trainer' creates it"
        ) from None
    except ValueError:
        raise UsageError(f"{path} is not an Ed25519 key of 32 bytes") from None


def open_signer(uri: str, public_key: Path) -> Signer:
    """Return securesystemslib's signer for the private key at `uri`: a file, an HSM, a cloud's.

    `public_key` is a JSON file with the key as TUF metadata has it, `keyid` beside its fields.

    Raises:
        UsageError: the file is no such key, or the signer cannot be opened.
    """
    try:
        told = json.loads(public_key.read_bytes())
        key = Key.from_dict(told.pop("keyid"), told)
    except OSError as error:
        raise UsageError(f"cannot read the public key {public_key}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{public_key} is no public key as TUF has it: {error}") from None
    try:
        return Signer.from_priv_key_uri(uri, key)
    # A signer of a cloud or an HSM brings its own library with its own exceptions.
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this option's
        scheme = uri.partition(":")[0]
        raise UsageError(f"cannot open the signer {scheme}:...: {error}"[:300]) from None


def add_release(
    current: bytes, signer: Signer, manifest: Manifest, model: bytes, *, utc_us: int
) -> bytes:
    """Return the role metadata `current` with `model` added, its version raised, signed anew.

    Raises:
        RefusedError: `current` is malformed, not a targets role, or not signed by `signer`'s key.
    """
    metadata = _read(current, signer)
    role = metadata.signed
    path = target_path(manifest.task.name, manifest.deployment, manifest.sha256)
    target = TargetFile.from_data(path, model, ["sha256"])
    target.unrecognized_fields["custom"] = to_custom(manifest, model)
    role.targets[path] = target
    role.version += 1
    role.expires = datetime.fromtimestamp(utc_us // 1_000_000, UTC) + TARGETS_VALID
    metadata.sign(signer)
    return metadata.to_bytes()


def released_as(current: bytes, signer: Signer, manifest: Manifest) -> int | None:
    """Return the release number under which `manifest`'s model is a target already, if it is one.

    Raises:
        RefusedError: `current` is malformed, not a targets role, or not signed by `signer`'s key.
    """
    path = target_path(manifest.task.name, manifest.deployment, manifest.sha256)
    target = _read(current, signer).signed.targets.get(path)
    if target is None:
        return None
    return from_custom(target.unrecognized_fields.get("custom")).release_seq


def _read(current: bytes, signer: Signer) -> Metadata[Targets]:
    if len(current) > _LIMIT_BYTES:
        raise RefusedError(f"role metadata of {len(current)} bytes, limit {_LIMIT_BYTES}")
    try:
        metadata: Metadata[Targets] = Metadata.from_bytes(current)
    except DeserializationError as error:
        raise RefusedError(f"role metadata: {error}"[:200]) from None
    if not isinstance(metadata.signed, Targets):
        raise RefusedError(f"role metadata is of type {metadata.signed.type}, expected targets")
    key = signer.public_key
    signature = metadata.signatures.get(key.keyid)
    try:
        if signature is None:
            raise RefusedError(f"the role metadata bears no signature of our key {key.keyid[:16]}")
        key.verify_signature(signature, metadata.signed_bytes)
    except UnverifiedSignatureError:
        raise RefusedError(
            f"the role metadata is not what our key {key.keyid[:16]} signed"
        ) from None
    return metadata
