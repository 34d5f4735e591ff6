"""New keys for a car that has a place in its fleet, without losing a pair.

Laws:
- the new keys lie on the disk before the server hears of them, and are put in force after it
  agreed: killed at any instant, the same is done again, which the server takes for a repeat;
- the journal is not touched: what waits is signed with the key in force when it is sent, and what
  was sent before counts at the server for a while;
- the server's key, the release root and the name stay; only enrolment changes those.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from device.agent import calling
from device.agent.enrolment import load_enrolment, load_signing_key
from device.home import Home
from shared.credentials import SALT_BYTES, Rotation, make_verifier
from shared.errors import UsageError
from shared.ids import sha256_hex
from shared.signing import SigningKey, write_secret

logger = logging.getLogger(__name__)

_PATH = "/api/v1/enrolments/rotate"


class _Answer(msgspec.Struct, frozen=True):
    """The server's answer; fields of later versions are passed over."""

    device: str
    public_key: str


def rotate(home: Home) -> str:
    """Make new keys, or take up those that a rotation cut short has made; return the fingerprint.

    Raises:
        UsageError: the car is not enrolled, the server refused, or another rotation is under way.
        RetryLaterError: the server does not answer; the keys wait, and the old ones count.
    """
    with _alone(home):
        if not is_pending(home):
            _make(home)
        return _finish(home)


def is_pending(home: Home) -> bool:
    """Tell whether new keys wait for the server's agreement, or to be put in force."""
    return home.next_signing_key.exists()


def _make(home: Home) -> None:
    load_enrolment(home)
    load_signing_key(home)
    write_secret(home.next_mqtt_secret, os.urandom(32).hex().encode())
    # Last: where it lies, the other lies too.
    write_secret(home.next_signing_key, os.urandom(32))


def _finish(home: Home) -> str:
    enrolment = load_enrolment(home)
    new = SigningKey.load(home.next_signing_key)
    secret = home.next_mqtt_secret.read_text(encoding="ascii")
    rotation = Rotation.make(
        device=enrolment.device,
        present=load_signing_key(home),
        new=new,
        mqtt_secret_sha256=sha256_hex(secret.encode()),
        mqtt_verifier=make_verifier(secret, os.urandom(SALT_BYTES)),
    )
    url = calling.address(enrolment.server_url, _PATH)
    body = {
        "device": rotation.device,
        "public_key": rotation.public_key.hex(),
        "mqtt_secret_sha256": rotation.mqtt_secret_sha256,
        "mqtt_verifier": rotation.mqtt_verifier,
        "by_present": rotation.by_present.hex(),
        "by_new": rotation.by_new.hex(),
    }
    _check(calling.post(url, body), rotation, url)
    _install(home, new_key=home.next_signing_key.read_bytes(), secret=secret)
    logger.info("keys_rotated fingerprint=%r", new.public.fingerprint)
    return new.public.fingerprint


def _check(answer: bytes, rotation: Rotation, url: str) -> None:
    try:
        told = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.MsgspecError, RecursionError):
        raise UsageError(f"{url} did not answer like a fleet server") from None
    if (told.device, told.public_key) != (rotation.device, rotation.public_key.hex()):
        raise UsageError(f"{url} agreed to other keys than ours")


def _install(home: Home, *, new_key: bytes, secret: str) -> None:
    try:
        write_secret(home.mqtt_secret, secret.encode())
        write_secret(home.signing_key, new_key)
        home.next_signing_key.unlink()
        home.next_mqtt_secret.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {home.root}: {error.strerror}; then run it again") from None


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    if not home.root.is_dir():
        raise UsageError(f"there is no home folder {home.root}: enrol the car first")
    try:
        descriptor = os.open(home.rotation_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"cannot use {home.rotation_lock}: {error.strerror}") from None
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError("the keys of this car are being changed already") from None
