"""Damage: a stream of bytes that were good once, or never.

Laws:
- the same seed gives the same damage;
- each kind of damage is one function in `KINDS`, drawn with equal odds;
- what is good is made bad by little (a bit) and by much (a length of four thousand million).
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

TOKENS: Final = (
    b"\xc1",  # the one byte that msgpack never uses
    b"\xcb\x7f\xf8" + bytes(6),  # not a number
    b"\xcb\xff\xf0" + bytes(6),  # minus infinity
    b"\xca\x7f\xc0\x00\x00",
    b"\xcf" + b"\xff" * 8,  # the largest whole number
    b"\xd3\x80" + bytes(7),  # the least one
    b"\xdd\xff\xff\xff\xff",  # an array of 4 thousand million
    b"\xdf\xff\xff\xff\xff",  # a map of as many
    b"\xdb\xff\xff\xff\xff",  # text of 4 GiB
    b"\xc6\xff\xff\xff\xff",  # bytes of 4 GiB
    b"\xc7\xff\x01",  # an extension
    b"\xd6\xff" + bytes(4),  # a timestamp
    b"\xa4\xed\xa0\x80\x00",  # half a surrogate
    b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03",  # a JPEG of 65535 x 65535
    b"\xff\xc4\x00\x02",  # an empty Huffman table
    b"1e999",
    b"\\ud800",
    b'{"',
)
"""What decoders stumble over, in msgpack, JPEG and JSON."""

_DEEP: Final = (b"\x91", b"\x81\xa0", b"[", b'{"a":')


def _flip(good: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    damaged = bytearray(good)
    for _ in range(rng.choice((1, 1, 2, 8))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _cut(good: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    return good[: rng.randrange(len(good))]


def _overwrite(good: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(good))
    return good[:at] + (token := rng.choice(TOKENS)) + good[at + len(token) :]


def _insert(good: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(good))
    return good[:at] + rng.choice(TOKENS) + good[at:]


def _repeat(good: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(good))
    until = min(len(good), at + rng.randint(1, 64))
    return good[:until] + good[at:until] * rng.randint(1, 40) + good[until:]


def _splice(good: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return good[: rng.randrange(len(good))] + other[rng.randrange(len(other)) :]


def _nest(good: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(good))
    return good[:at] + rng.choice(_DEEP) * rng.choice((10, 1000, 20_000)) + good[at:]


def _rubbish(_good: bytes, rng: random.Random, _others: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.randint(0, 400))


KINDS: Final[tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...]] = (
    *(_flip, _cut, _overwrite, _insert, _repeat, _splice, _rubbish),
    _nest,
)


def damaged(goods: Sequence[bytes], rng: random.Random) -> bytes:
    """Return one of `goods` after one to three kinds of damage."""
    found = rng.choice(goods)
    for _ in range(rng.choice((1, 1, 2, 3))):
        found = rng.choice(KINDS)(found or b"\0", rng, goods)
    return found
