"""The chapter of the decoders finds what it looks for."""

import random
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.errors import RefusedError
from tests.chaos.chapter import Stage
from tests.chaos.damage import KINDS, damaged
from tests.chaos.decoders import attempt, checks, run
from tests.chaos.doors import Door

GOODS = (b"\x83\xa1a\x01\xa1b\xc3\xa1c\xc0", b"{}")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(
        folder=tmp_path, out=tmp_path, clock=SystemClock(), seed=1, is_quick=True, cycles=300
    )


def test_the_same_seed_gives_the_same_damage_and_another_another() -> None:
    one, same, other = ([damaged(GOODS, random.Random(seed)) for _ in range(20)] for seed in "aab")
    assert one == same != other


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.__name__)
def test_every_kind_of_damage_changes_what_is_good(kind: object) -> None:
    rng = random.Random(3)
    assert any(kind(GOODS[0], rng, GOODS) != GOODS[0] for _ in range(20))  # type: ignore[operator]  # one of KINDS


def test_a_decoder_that_breaks_on_rare_bytes_is_found_and_the_bytes_are_kept(stage: Stage) -> None:
    def enter(body: bytes) -> None:
        if body not in GOODS:
            if b"\xc1" in body:
                raise KeyError("only refusals are expected of a door")
            raise RefusedError("damaged")

    door = Door(name="a door", enter=enter, goods=GOODS, share=1.0)
    tried = attempt(door, 500, random.Random(1), stage)
    assert tried.crashes.keys() == {"KeyError"}
    assert b"\xc1" in (stage.out / "crash-a-door.bin").read_bytes()
    assert [check.met for check in checks([tried], 500)] == [False, True, True]


def test_a_door_that_is_never_closed_does_not_count_as_tried(stage: Stage) -> None:
    open_door = Door(name="open", enter=len, goods=GOODS, share=1.0)
    tried = attempt(open_door, 50, random.Random(1), stage)
    assert [check.met for check in checks([tried], 50)] == [True, True, False]


def test_no_door_of_ours_breaks_on_a_few_hundred_damaged_messages(stage: Stage) -> None:
    told = run(stage)
    assert [check.value for check in told.checks if check.name == "decoder crashes"] == [0]
    assert "| ingest |" in told.text
