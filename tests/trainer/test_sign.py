"""A release in the trainer's own role of the release repository."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Targets

from shared.errors import RefusedError, UsageError
from shared.ids import sha256_hex
from shared.manifest import Manifest, Tensor
from shared.releases import delegated_paths, from_custom, target_path
from tests.trainer.conftest import TINY
from trainer.worker import sign

_NOW = datetime(2026, 5, 1, tzinfo=UTC)
_NOW_US = int(_NOW.timestamp()) * 1_000_000


def role_signer(secret: bytes = b"k" * 32) -> CryptoSigner:
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(secret))


def _manifest(model: bytes, release_seq: int = 1) -> Manifest:
    tensor = Tensor(name="value", shape=(1, 1), dtype="int8", scale=1 / 256, zero_point=-128)
    return Manifest(
        sha256=sha256_hex(model),
        size_bytes=len(model),
        task=TINY,
        deployment="bench",
        release_seq=release_seq,
        input=tensor,
        value=tensor,
        log_sigma=tensor,
        preprocessing="rgb-area-v1",
        metrics={"test_mae": 2.5},
        run_id="run-1",
        dataset_sha256="0" * 64,
        minimum_device="0.1.0",
        created_utc_us=_NOW_US,
        trainer="trainer-1",
    )


def empty_role(secret: bytes = b"k" * 32) -> bytes:
    """Return the first metadata of a role whose key is `secret`."""
    metadata = Metadata(Targets(version=1, expires=_NOW + timedelta(days=1)))
    metadata.sign(role_signer(secret))
    return metadata.to_bytes()


def _owner(signer: CryptoSigner) -> Targets:
    key = signer.public_key
    paths = delegated_paths(TINY.name)
    role = DelegatedRole("trainer-1", [key.keyid], 1, terminating=True, paths=paths)
    return Targets(delegations=Delegations({key.keyid: key}, {"trainer-1": role}))


@given(model=st.binary(min_size=1, max_size=150_000))
def test_a_release_holds_under_the_owners_delegation(model: bytes) -> None:
    signer = role_signer()
    data = sign.add_release(empty_role(), signer, _manifest(model), model, utc_us=_NOW_US)
    metadata: Metadata[Targets] = Metadata.from_bytes(data)
    owner = _owner(signer)
    owner.verify_delegate("trainer-1", metadata.signed_bytes, metadata.signatures)
    path = target_path(TINY.name, "bench", sha256_hex(model))
    target = metadata.signed.targets[path]
    target.verify_length_and_hashes(model)
    assert from_custom(target.custom).manifest == _manifest(model)
    assert owner.delegations is not None
    assert owner.delegations.roles is not None
    assert owner.delegations.roles["trainer-1"].is_delegated_path(path)


def test_each_release_raises_the_version_and_keeps_the_earlier_targets() -> None:
    signer = role_signer()
    first = sign.add_release(empty_role(), signer, _manifest(b"one"), b"one", utc_us=_NOW_US)
    second = sign.add_release(first, signer, _manifest(b"two", 2), b"two", utc_us=_NOW_US)
    before, after = (Metadata[Targets].from_bytes(data).signed for data in (first, second))
    assert (before.version, after.version) == (2, 3)
    assert before.targets.items() < after.targets.items()
    assert after.expires == _NOW + timedelta(days=90)


def test_the_same_release_is_the_same_bytes() -> None:
    signer = role_signer()
    twice = {
        sign.add_release(empty_role(), signer, _manifest(b"x"), b"x", utc_us=_NOW_US)
        for _ in range(2)
    }
    assert len(twice) == 1


def test_a_release_is_known_again() -> None:
    signer = role_signer()
    data = sign.add_release(empty_role(), signer, _manifest(b"x"), b"x", utc_us=_NOW_US)
    assert sign.released_as(data, signer, _manifest(b"x")) == 1
    assert sign.released_as(data, signer, _manifest(b"y")) is None


def test_metadata_that_our_key_did_not_sign_is_not_built_upon() -> None:
    ours = role_signer()
    with pytest.raises(RefusedError, match="no signature of our key"):
        sign.add_release(empty_role(b"t" * 32), ours, _manifest(b"x"), b"x", utc_us=_NOW_US)


def test_metadata_changed_after_our_signature_is_not_built_upon() -> None:
    signer = role_signer()
    forged = (
        empty_role()
        .replace(b'"version":1', b'"version":7')
        .replace(b'"version": 1', b'"version": 7')
    )
    assert forged != empty_role()
    with pytest.raises(RefusedError, match="not what our key"):
        sign.add_release(forged, signer, _manifest(b"x"), b"x", utc_us=_NOW_US)


@given(data=st.binary(max_size=300))
def test_any_bytes_but_metadata_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedError):
        sign.add_release(data, role_signer(), _manifest(b"x"), b"x", utc_us=_NOW_US)


def test_another_key_fails_under_the_delegation() -> None:
    theirs = role_signer(b"t" * 32)
    data = sign.add_release(empty_role(b"t" * 32), theirs, _manifest(b"x"), b"x", utc_us=_NOW_US)
    metadata: Metadata[Targets] = Metadata.from_bytes(data)
    with pytest.raises(UnsignedMetadataError):
        _owner(role_signer()).verify_delegate(
            "trainer-1", metadata.signed_bytes, metadata.signatures
        )


@pytest.mark.parametrize("content", [None, b"", b"short", b"x" * 33])
def test_a_wrong_key_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "release.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"release\.key"):
        sign.load_signer(path)


def test_any_signer_of_securesystemslib_signs(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    pem = tmp_path / "key.pem"
    pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = tmp_path / "public.json"
    key = role_signer().public_key
    public.write_text(json.dumps({"keyid": key.keyid, **key.to_dict()}))
    signer = sign.open_signer(f"file2:{pem}", public)
    model = b"model"
    released = sign.add_release(empty_role(), signer, _manifest(model), model, utc_us=_NOW_US)
    # Ed25519 is deterministic: the key in a file and securesystemslib's signer write the same.
    assert released == sign.add_release(
        empty_role(), role_signer(), _manifest(model), model, utc_us=_NOW_US
    )


@pytest.mark.parametrize(
    ("uri", "public", "named"),
    [
        ("file2:nowhere.pem", None, "file2"),
        ("carrier-pigeon:coop", None, "carrier-pigeon"),
        ("file2:nowhere.pem", "{}", "no public key"),
        ("file2:nowhere.pem", "no json", "no public key"),
        ("file2:nowhere.pem", "[]", "no public key"),
    ],
)
def test_a_signer_that_cannot_be_opened_is_named(
    tmp_path: Path, uri: str, public: str | None, named: str
) -> None:
    key = role_signer().public_key
    file = tmp_path / "public.json"
    file.write_text(public or json.dumps({"keyid": key.keyid, **key.to_dict()}))
    with pytest.raises(UsageError, match=named):
        sign.open_signer(uri, file)


def test_a_missing_public_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"public\.json"):
        sign.open_signer("file2:x", tmp_path / "public.json")
