"""The only place that turns foreign bytes into messages; every limit is enforced here.

Laws:
- bytes that break any limit raise `RefusedError`, whatever they are; nothing else escapes;
- what comes out is finite, complete and of the exact type that the topic carries;
- encoding a message twice gives the same bytes.

Three things msgspec alone lets pass, guarded here: NaN and infinities decode as plain floats, deep
nesting raises RecursionError, and a payload has no bound on its size.
"""

import math
import re
from typing import TypeVar, cast

import msgspec

from shared import messages
from shared.errors import RefusedError
from shared.topics import RELEASE_TARGET, TABLE, Topic

M = TypeVar("M", bound=messages.Message)

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoders: dict[type, msgspec.msgpack.Decoder[messages.Message]] = {
    row.message: msgspec.msgpack.Decoder(row.message) for row in TABLE
}

# A msgpack float64 or float32 whose exponent bits are all set is NaN or infinite. The pattern also
# hits by chance inside a picture, so a hit only asks for the exact look below; without one, the
# common case pays a single scan instead of a walk over every field.
# Of a long payload full of numbers numpy scans a byte in a fifteenth of the time (358 us and 24 us
# for 68 KB on the design machine); a process that takes short messages only never loads it.
_maybe_not_finite = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]|\xca[\x7f\xff][\x80-\xff]", re.DOTALL)
_LONG_BYTES = 4096


def encode(message: messages.Message) -> bytes:
    """Return `message` as it goes over the wire, before signing."""
    if isinstance(message, messages.Chunk):
        return message.data
    return _encoder.encode(message)


def decode(message_type: type[M], payload: bytes, *, limit_bytes: int) -> M:
    """Return the message of `message_type` in `payload`.

    Raises:
        RefusedError: the payload is too long, malformed, of another type or holds a NaN.
    """
    if len(payload) > limit_bytes:
        raise RefusedError(f"{message_type.__name__}: {len(payload)} bytes, limit {limit_bytes}")
    if message_type is messages.Chunk:
        return cast("M", messages.Chunk(data=payload))
    try:
        message = _decoders[message_type].decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError(f"{message_type.__name__}: {error}"[:200]) from None
    if _may_hold_what_is_not_finite(payload) and not is_finite(message):
        raise RefusedError(f"{message_type.__name__}: a number is not finite")
    return cast("M", message)


def decode_on(row: Topic, payload: bytes) -> messages.Message:
    """Return the message in `payload` as `row` of the topic table declares it.

    Raises:
        RefusedError: as for `decode`, or the row's messages are signed and need
            `shared.signing.open_envelope` first.
    """
    if row.signed:
        raise RefusedError(f"{row.name} is signed: open its envelope first")
    return decode(row.message, payload, limit_bytes=row.limit_bytes)


def _may_hold_what_is_not_finite(payload: bytes) -> bool:
    if len(payload) < _LONG_BYTES:
        return _maybe_not_finite.search(payload) is not None
    import numpy as np

    held = np.frombuffer(payload, dtype=np.uint8)
    at = np.flatnonzero((held[:-2] | 1) == 0xCB)
    return bool(np.any(((held[at + 1] & 0x7F) == 0x7F) & (held[at + 2] >= 0x80)))


def is_finite(value: object) -> bool:
    """Tell whether every number in `value`, however deep, is finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, msgspec.Struct):
        return all(is_finite(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, tuple | list):
        return all(map(is_finite, value))
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    return True


CHUNK_LIMIT_BYTES = RELEASE_TARGET.limit_bytes
"""The most that one piece of a model may hold."""
