"""Enrolment: a car makes its keys, shows the public halves with a one-time code, and is told its
fleet.

Laws:
- private halves never leave the car: the server sees a public key and a digest;
- the code names the server's key and the release root that the operator meant: an answer with
  others is refused, so that nobody who stands in for the server can own the car;
- pairs count for the name that they were recorded under, and the server refuses them under another:
  a car that still holds some does not change its name by accident;
- nothing is written before the server agreed, so that a refused enrolment changes nothing;
- `enrolment.json` is removed before anything it vouches for changes and written after everything
  else: killed at any instant, a car is enrolled in the old fleet, in none, or in the new one, and
  in none it says so and is enrolled again with a fresh code;
- the code, which is worth a car, travels over TLS or not beyond this machine.
"""

import os
import re
import shutil

import msgspec

from device.agent import calling
from device.agent.enrolment import Enrolment, Host, KeyHex, Port
from device.agent.releases import check_root
from device.home import Home
from device.journal import Journal
from shared.credentials import SALT_BYTES, make_verifier
from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.ids import DeviceName, Name, is_device_name, sha256_hex
from shared.messages import Desired
from shared.signing import SigningKey, VerifyKey, write_secret
from shared.task import Task

_PATH = "/api/v1/enrolments/claim"
_CODE = re.compile(r"[A-Za-z0-9_-]{16,64}\.(?P<server_key>[0-9a-f]{16})\.(?P<root>[0-9a-f]{16})")
"""A secret, then the first 64 bits of the SHA-256 of the server's key and of the release root."""


class _Broker(msgspec.Struct, frozen=True):
    host: Host
    port: Port
    ca_pem: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    """The server's answer; fields of later versions are passed over."""

    device: DeviceName
    broker: _Broker
    server_public_key: KeyHex
    tuf_root: str
    task: Task
    deployment: Name


def enrol(
    home: Home, *, server_url: str, code: str, device: str | None = None, force: bool = False
) -> Enrolment:
    """Enrol the car under the name `device` (None: the one in its settings) and return its fleet.

    Raises:
        UsageError: it is enrolled already or holds another name's pairs (both without `force`), the
            address or the code is wrong, or the server does not answer, answers nonsense or is not
            the one that the code names.
    """
    name = device or home.settings().name
    if not is_device_name(name):
        raise UsageError(
            f"no car may be called {name!r}: 2 to 48 lower-case letters, digits and inner hyphens"
        )
    if home.enrolment.exists() and not force:
        raise UsageError(f"{home.root} is enrolled already; --force enrols it anew with new keys")
    if not force:
        _check_waiting(home, name)
    url = calling.address(server_url, _PATH)
    named = _CODE.fullmatch(code.strip())
    if named is None:
        raise UsageError("this is no enrolment code: copy all of it, both dots included")
    home.create()
    raw_key, secret = os.urandom(32), os.urandom(32).hex()
    answer = _claim(
        url,
        {
            "code": named[0],
            "device": name,
            "public_key": SigningKey(raw_key).public.raw.hex(),
            "mqtt_secret_sha256": sha256_hex(secret.encode()),
            "mqtt_verifier": make_verifier(secret, os.urandom(SALT_BYTES)),
        },
    )
    if answer.device != name:
        raise UsageError(f"the server answered for {answer.device!r} instead of {name!r}")
    _check_identity(answer, server_key=named["server_key"], root=named["root"])
    _install(home, answer, raw_key, secret)
    enrolment = Enrolment(
        device=name,
        deployment=answer.deployment,
        task=answer.task,
        server_url=server_url.rstrip("/"),
        server_public_key=answer.server_public_key,
        broker_host=answer.broker.host,
        broker_port=answer.broker.port,
        has_broker_ca=answer.broker.ca_pem is not None,
    )
    write_secret(home.enrolment, msgspec.json.format(msgspec.json.encode(enrolment)))
    return enrolment


def _check_waiting(home: Home, name: str) -> None:
    if not home.journal.exists():
        return
    journal = Journal.open(home.journal)
    try:
        waiting = journal.counts().queue_depth
        names = {each.device for each in journal.unsent_samples(1)}
    finally:
        journal.close()
    if names - {name}:
        raise UsageError(
            f"{waiting} pairs wait that were recorded as {names.pop()}, and no server takes them "
            f"from {name}: enrol under that name, or with --force to give them up"
        )


def _claim(url: str, claim: dict[str, str]) -> _Answer:
    try:
        body = calling.post(url, claim)
    except RetryLaterError as error:
        raise UsageError(str(error)) from None
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        check_root(answer.tuf_root.encode())
    except (msgspec.MsgspecError, RecursionError, RefusedError) as error:
        raise UsageError(f"{url} did not answer like a fleet server: {error}"[:300]) from None
    return answer


def _check_identity(answer: _Answer, *, server_key: str, root: str) -> None:
    key = VerifyKey(bytes.fromhex(answer.server_public_key))
    if key.key_id != server_key or sha256_hex(answer.tuf_root.encode())[:16] != root:
        raise UsageError(
            "this is not the server that the code is from, or its release root was changed since: "
            "nothing was kept; check the address and ask for a new code"
        )


def _install(home: Home, answer: _Answer, raw_key: bytes, secret: str) -> None:
    try:
        home.enrolment.unlink(missing_ok=True)
        # Metadata and pieces that another fleet's keys vouched for.
        shutil.rmtree(home.tuf_root.parent, ignore_errors=True)
        shutil.rmtree(home.incoming, ignore_errors=True)
        home.operators.unlink(missing_ok=True)
        _forget_wishes(home, answer)
        home.signing_key.parent.mkdir(mode=0o700, exist_ok=True)
        write_secret(home.signing_key, raw_key)
        write_secret(home.mqtt_secret, secret.encode())
        home.tuf_root.parent.mkdir(exist_ok=True)
        write_secret(home.tuf_root, answer.tuf_root.encode())
        if answer.broker.ca_pem is not None:
            write_secret(home.broker_ca, answer.broker.ca_pem.encode())
    except OSError as error:
        raise UsageError(f"cannot write {home.root}: {error.strerror}; then enrol again") from None


def _forget_wishes(home: Home, answer: _Answer) -> None:
    """Put the new fleet's deployment in force, below any revision that its server will name."""
    journal = Journal.open(home.journal)
    try:
        if journal.desired() is not None:
            journal.set_desired(
                Desired(device=answer.device, epoch=0, revision=0, deployment=answer.deployment)
            )
    finally:
        journal.close()
