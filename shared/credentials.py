"""What a car shows of the keys it makes: digests for brokers, and proof when it changes them.

Laws:
- a secret never leaves the car: the embedded broker knows its SHA-256, mosquitto its own kind of
  digest, a *verifier*, since neither can be made from the other;
- a verifier has one form and one cost: it is written into a file of lines, and each log-in works
  through it;
- new keys are signed for by the key in force, and by the new one, which proves that it is there.
"""

import base64
import hashlib
import re
from dataclasses import dataclass, field

from shared.errors import RefusedError
from shared.ids import DeviceName, is_device_name, is_sha256
from shared.signing import SigningKey, VerifyKey

ITERATIONS = 101
"""Mosquitto's own default; the secret is 256 random bits, so that few are enough."""

SALT_BYTES = 12

VERIFIER_PATTERN = rf"^\$7\${ITERATIONS}\$[A-Za-z0-9+/]{{16}}\$[A-Za-z0-9+/]{{86}}==$"
"""PBKDF2 with SHA-512 as mosquitto writes it, its format 7: salt and key in Base64."""

_DOMAIN = b"parkfleet-rotation-v1\n"


def make_verifier(secret: str, salt: bytes) -> str:
    """Return mosquitto's digest of `secret` with `salt`, `SALT_BYTES` random bytes."""
    key = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, ITERATIONS)
    salt_text, key_text = (base64.b64encode(part).decode() for part in (salt, key))
    return f"$7${ITERATIONS}${salt_text}${key_text}"


def is_verifier(text: str) -> bool:
    """Tell whether `text` is a verifier of our cost, and nothing beside it."""
    return re.fullmatch(VERIFIER_PATTERN, text) is not None and not text.endswith("\n")


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """New keys of a car that has a place in the fleet, signed with the old key and the new one."""

    device: DeviceName
    public_key: bytes
    mqtt_secret_sha256: str
    mqtt_verifier: str
    by_present: bytes = field(repr=False)
    by_new: bytes = field(repr=False)

    @classmethod
    def make(
        cls,
        *,
        device: str,
        present: SigningKey,
        new: SigningKey,
        mqtt_secret_sha256: str,
        mqtt_verifier: str,
    ) -> "Rotation":
        """Return the claim of `device`, which holds both keys."""
        said = _said(device, new.public.raw, mqtt_secret_sha256, mqtt_verifier)
        return cls(
            device=device,
            public_key=new.public.raw,
            mqtt_secret_sha256=mqtt_secret_sha256,
            mqtt_verifier=mqtt_verifier,
            by_present=present.sign(said),
            by_new=new.sign(said),
        )

    def check(self, present: VerifyKey) -> None:
        """Return quietly where whoever made this held `present` and the new key.

        A repeat is checked with the new key, which is the present one by then.

        Raises:
            SignatureError: not so.
            RefusedError: a part of it is malformed.
        """
        if not (
            is_device_name(self.device)
            and is_sha256(self.mqtt_secret_sha256)
            and is_verifier(self.mqtt_verifier)
        ):
            raise RefusedError("these are no keys of a car")
        new = VerifyKey(self.public_key)
        said = _said(self.device, self.public_key, self.mqtt_secret_sha256, self.mqtt_verifier)
        new.verify(self.by_new, said)
        if present.raw != new.raw:
            present.verify(self.by_present, said)


def _said(device: str, public_key: bytes, secret_sha256: str, verifier: str) -> bytes:
    """Return what is signed; no part can hold a line feed once it was checked."""
    return _DOMAIN + f"{device}\n{public_key.hex()}\n{secret_sha256}\n{verifier}".encode()
