"""The pieces of a model on the disk, and when they are asked for."""

import itertools
import random
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from device.agent.chunks import ChunkStore, Requests, sweep
from device.agent.releases import SignedRelease
from device.home import Home
from shared.errors import RefusedError
from shared.ids import sha256_hex
from shared.releases import Release, split
from shared.topics import CHUNK_BYTES
from tests.device.releases import manifest

MODEL = random.Random(3).randbytes(5 * 65536 + 17)
SHA = sha256_hex(MODEL)
PIECES = split(MODEL, CHUNK_BYTES)


def signed(model: bytes = MODEL) -> SignedRelease:
    """Return a release as those of before, in pieces of 64 KiB."""
    chunks = tuple(sha256_hex(piece) for piece in split(model, CHUNK_BYTES))
    release = Release(release_seq=1, chunks=chunks, manifest=manifest(model))
    return SignedRelease(release=release, size_bytes=len(model))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "car")
    made.create()
    return made


def test_pieces_in_any_order_become_the_model(home: Home) -> None:
    store = ChunkStore(home, signed())
    for number in (5, 0, 3, 1, 4, 2):
        assert store.put(number, PIECES[number])
    assert store.missing == set()
    store.install()
    assert home.model(SHA).read_bytes() == MODEL
    assert home.manifest(SHA).read_text() == manifest(MODEL).to_json()
    store.install()


def test_a_start_finds_the_pieces_that_are_here_and_no_others(home: Home) -> None:
    store = ChunkStore(home, signed())
    store.put(1, PIECES[1])
    store.put(4, PIECES[4])
    again = ChunkStore.resume(home, SHA)
    assert again is not None
    assert again.missing == {0, 2, 3, 5}
    assert again.signed == store.signed


def test_a_torn_write_is_a_missing_piece(home: Home) -> None:
    store = ChunkStore(home, signed())
    for number, piece in enumerate(PIECES):
        store.put(number, piece)
    part = home.incoming / f"{SHA}.part"
    torn = bytearray(part.read_bytes())
    torn[65536 * 2 + 5] ^= 1
    part.write_bytes(bytes(torn))
    again = ChunkStore(home, signed())
    assert again.missing == {2}


def test_a_wrong_piece_is_refused(home: Home) -> None:
    store = ChunkStore(home, signed())
    with pytest.raises(RefusedError, match="not the signed one"):
        store.put(0, PIECES[1])
    with pytest.raises(RefusedError, match="no piece 6"):
        store.put(6, PIECES[0])
    assert store.put(0, PIECES[0])
    assert not store.put(0, PIECES[0])


def test_another_models_pieces_make_room(home: Home) -> None:
    first = ChunkStore(home, signed())
    first.put(0, PIECES[0])
    ChunkStore(home, signed(b"another"))
    assert ChunkStore.resume(home, SHA) is None


def test_an_incomplete_file_is_never_installed(home: Home) -> None:
    store = ChunkStore(home, signed())
    store.put(0, PIECES[0])
    with pytest.raises(RefusedError, match="not the signed one"):
        store.install()
    assert not home.model(SHA).exists()


def test_a_model_damaged_on_the_disk_is_found_and_thrown_away(home: Home) -> None:
    store = ChunkStore(home, signed())
    for number, piece in enumerate(PIECES):
        store.put(number, piece)
    store.install()
    home.model(SHA).write_bytes(MODEL[:-1] + b"\x00\x00")
    with pytest.raises(RefusedError):
        store.install()
    assert not home.model(SHA).exists()


def test_sweeping_keeps_what_is_in_use_and_what_is_not_ours(home: Home) -> None:
    for digest in ("a" * 64, "b" * 64):
        home.model(digest).write_bytes(b"m")
        home.manifest(digest).write_bytes(b"{}")
    note = home.models / "notes.txt"
    note.write_text("mine")
    sweep(home, {"a" * 64})
    assert home.model("a" * 64).exists()
    assert home.manifest("a" * 64).exists()
    assert not home.model("b" * 64).exists()
    assert not home.manifest("b" * 64).exists()
    assert note.exists()


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), loss=st.floats(0, 0.8), seed=st.integers(0, 2**16))
def test_every_piece_comes_in_the_end_within_the_window(count: int, loss: float, seed: int) -> None:
    rng = random.Random(seed)
    requests = Requests(random.Random(seed), window=8)
    missing = set(range(count))
    now_us = 0
    for _ in range(5_000):
        for number in requests.ask(missing, now_us):
            assert number in missing
            if rng.random() >= loss:
                missing.discard(number)
                requests.answered(number)
        assert len(requests.asked) <= 8
        if not missing:
            break
        now_us += 1_000_000
    assert not missing


def test_silence_makes_requests_rarer() -> None:
    requests = Requests(random.Random(1))
    asked_at = [t for t in range(600) if requests.ask({0}, t * 1_000_000)]
    gaps = [b - a for a, b in itertools.pairwise(asked_at)]
    assert gaps[0] <= 6
    assert max(gaps) > 40
