"""The two lines by which a console joins a fleet: a request to the server's keeper, and the grant.

Laws:
- neither holds a secret: keys are made where they are used, and their private halves stay there;
- a request is signed by the key that it names, a grant by the server's: a line that was copied in
  part, or changed on the way, is refused;
- a grant is for the one key that asked for it.
"""

import base64
from typing import Annotated, Literal, TypeVar

import msgspec

from shared.credentials import is_verifier
from shared.errors import SignatureError, UsageError
from shared.ids import Name, Sha256
from shared.samples import Count
from shared.signing import PublicKeyBytes, SigningKey, VerifyKey

Role = Literal["viewer", "operator"]
"""What a console may do: watch, or order, too."""

ROLES: tuple[Role, ...] = ("viewer", "operator")

_LIMIT_CHARACTERS = 64 * 1024
_Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks, by which key it signs, and what brokers have to know of its secret."""

    name: Name
    public_key: PublicKeyBytes
    mqtt_secret_sha256: Sha256
    mqtt_verifier: str


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the console may do, where the broker is, and by which key its server speaks."""

    name: Name
    role: Role
    public_key: PublicKeyBytes
    until_utc_us: Count
    server_public_key: PublicKeyBytes
    broker_host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    broker_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    broker_ca_pem: Annotated[str, msgspec.Meta(max_length=32 * 1024)] | None = None


class _Paper(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    body: bytes
    signature: _Signature


P = TypeVar("P", Request, Grant)

_PREFIXES: dict[type, str] = {Request: "pf-request-1.", Grant: "pf-grant-1."}


def write_request(request: Request, key: SigningKey) -> str:
    """Return `request` as one line, signed by the key that it names."""
    return _write(request, key)


def read_request(text: str) -> Request:
    """Return the request in `text`, whose signature holds.

    Raises:
        UsageError: it is no request, or not whole.
    """
    paper, request = _read(text, Request)
    _check(paper, VerifyKey(request.public_key), Request)
    if not is_verifier(request.mqtt_verifier):
        raise UsageError("this request holds no digest of mosquitto's")
    return request


def write_grant(grant: Grant, key: SigningKey) -> str:
    """Return `grant` as one line, signed by the server."""
    return _write(grant, key)


def read_grant(text: str) -> Grant:
    """Return the grant in `text`, signed by the server that it names.

    Raises:
        UsageError: it is no grant, or not whole.
    """
    paper, grant = _read(text, Grant)
    _check(paper, VerifyKey(grant.server_public_key), Grant)
    return grant


def _write(paper: Request | Grant, key: SigningKey) -> str:
    prefix = _PREFIXES[type(paper)]
    body = msgspec.msgpack.encode(paper)
    signed = _Paper(body=body, signature=key.sign(prefix.encode() + body))
    return prefix + base64.urlsafe_b64encode(msgspec.msgpack.encode(signed)).decode().rstrip("=")


def _read(text: str, kind: type[P]) -> tuple[_Paper, P]:
    # Terminals and mail programs break long lines.
    joined, prefix = "".join(text.split()), _PREFIXES[kind]
    name = kind.__name__.lower()
    if not joined.startswith(prefix) or len(joined) > _LIMIT_CHARACTERS:
        raise UsageError(f"this is no {name}: copy all of the line that begins with {prefix}")
    encoded = joined.removeprefix(prefix)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        paper = msgspec.msgpack.decode(raw, type=_Paper)
        return paper, msgspec.msgpack.decode(paper.body, type=kind)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise UsageError(f"this {name} is not whole: copy all of the line") from None


def _check(paper: _Paper, key: VerifyKey, kind: type) -> None:
    try:
        key.verify(paper.signature, _PREFIXES[kind].encode() + paper.body)
    except SignatureError:
        name = kind.__name__.lower()
        raise UsageError(f"this {name} was changed on its way: ask for it again") from None
