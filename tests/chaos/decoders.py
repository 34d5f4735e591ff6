"""The chapter of the decoders: whatever bytes come in, they are understood or refused.

Laws:
- what a door (`doors`) does but return or raise `RefusedError` is a crash; the bytes that did it
  are kept beside the report;
- a door that is never closed was not tried, and is counted; one that is closed to what is undamaged
  breaks the chapter.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from shared.errors import RefusedError
from tests.chaos.chapter import Chapter, Stage, Told
from tests.chaos.damage import damaged
from tests.chaos.doors import Door, doors
from tests.chaos.silence import silence

CASES: Final = 1_000_000
QUICK_CASES: Final = 20_000


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the cases at one door; a crash is the name of what was raised.

    `refused` is None where a door does not say.
    """

    door: str
    cases: int
    refused: int | None
    crashes: dict[str, int]
    slowest_ms: float


def run(stage: Stage) -> Told:
    """Damage what is good, hand it to every door, and tell what was found."""
    cases = stage.cycles or (QUICK_CASES if stage.is_quick else CASES)
    tried: list[Tried] = []
    with doors(stage.folder) as every, bar(f"damaged bytes, {cases} cases", cases) as tell:
        done, shares = 0, sum(door.share for door in every)
        for door in every:
            many = max(20, math.ceil(cases * door.share / shares))
            rng = random.Random(f"{stage.seed} {door.name}")
            with silence():
                tried.append(attempt(door, many, rng, stage))
            done += many
            tell(min(done, cases))
    made = checks(tried, cases)
    return Told(
        checks=made,
        body={"doors": msgspec.to_builtins(tried)},
        text="\n\n".join([_table(tried), checks_table(made)]),
    )


CHAPTER: Final = Chapter(name="decoders", title="Damaged bytes at every door", run=run)


def attempt(door: Door, cases: int, rng: random.Random, stage: Stage) -> Tried:
    """Try `door` with `cases` damaged messages."""
    for good in door.goods:
        door.enter(good)
    refused, crashes, slowest_us = 0, Counter[str](), 0
    for _ in range(cases):
        body = damaged(door.goods, rng)
        begun_us = stage.clock.monotonic_us()
        try:
            door.enter(body)
        except RefusedError:
            refused += 1
        except Exception as error:  # noqa: BLE001 - whatever else comes out is what we look for
            crashes[type(error).__name__] += 1
            (stage.out / f"crash-{door.name.replace(' ', '-')}.bin").write_bytes(body)
        slowest_us = max(slowest_us, stage.clock.monotonic_us() - begun_us)
    return Tried(
        door=door.name,
        cases=cases,
        refused=refused if door.tells else None,
        crashes=dict(crashes),
        slowest_ms=slowest_us / 1e3,
    )


def checks(tried: Sequence[Tried], cases: int) -> list[Check]:
    """Return what decides; the last two tell whether enough was tried."""
    crashed = sum(sum(each.crashes.values()) for each in tried)
    idle = [each for each in tried if each.refused == 0]
    return [
        Check(name="decoder crashes", value=crashed, unit="", limit=0, better="lower"),
        Check(
            name="damaged messages tried",
            value=sum(each.cases for each in tried),
            unit="",
            limit=cases,
            better="higher",
        ),
        Check(
            name="doors that let all damage in",
            value=len(idle),
            unit="",
            limit=0,
            better="lower",
        ),
    ]


def _table(tried: Sequence[Tried]) -> str:
    rows = [
        f"| {each.door} | {each.cases:,} | {_said(each.refused)} | {sum(each.crashes.values())} "
        f"| {each.slowest_ms:.1f} |"
        for each in tried
    ]
    head = "| door | cases | refused | crashes | slowest (ms) |\n|---|---:|---:|---:|---:|"
    return "\n".join([head, *rows])


def _said(number: int | None) -> str:
    return "not told" if number is None else f"{number:,}"
