"""The chapter of the bad disk: full, read-only, failing, under cars and the server.

*Databases*: the journal and the server's database over a disk that fails for some operations in a
row (`storage_databases`). *Processes*: a real server, a real car's agent and its drive, whose disk
is full for a while: no file of theirs may grow (RLIMIT_FSIZE, as with the simulated fault
`disk_full`; a write fails with EFBIG where a full disk says ENOSPC). *Small disks*: a car on a real
disk of six megabytes that is full at the start, fills up, or is mounted read-only
(`tests.device.drive.small_disk`), where this user may mount one.

Laws:
- a process that ends by itself ends the experiment: it is a fault, not a result.
"""

import random
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from hardware_sim import scene as scenes
from hardware_sim.lab.fleet import Fleet, Floor
from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos import verdict
from tests.chaos.chapter import Chapter, Stage, Told, enough, none
from tests.chaos.kills import NO_TRAINING, prepare
from tests.chaos.ledger import read
from tests.chaos.silence import without_log
from tests.chaos.storage_databases import FAULTS, Failed, journal, server
from tests.chaos.verdict import Found
from tests.chaos.yard import Yard

TIMES: Final = 150
QUICK_TIMES: Final = 20
LIMIT_S: Final = 120.0
_FULL_S: Final = 20.0
_QUICK_FULL_S: Final = 6.0
_SPEED: Final = 8.0
_LONGEST_S: Final = 300.0
_ROOT: Final = Path(__file__).parents[2]
_MOUNT: Final = 'mount -t tmpfs -o size=6m none "$1" && shift && exec "$@"'
_SCENARIOS: Final = ("full_at_the_start", "ends_while_full", "less_and_less_room", "read_only")
_TARGET_MM, _AROUND_MM = 40.0, 4.0


class Full(msgspec.Struct, frozen=True, kw_only=True):
    """A process whose disk was full: what happened meanwhile, and seconds until all was synced.

    `driven` manoeuvres ended meanwhile; `unwritten` pairs of them never came into the journal, as
    it counts itself.
    """

    who: str
    driven: int
    waiting: int
    synced_s: float
    unwritten: int = 0
    found: Found


class Small(msgspec.Struct, frozen=True, kw_only=True):
    """A car on a small disk: how many times it parked, and how many of them beside the target."""

    scenario: str
    parked: int
    missed: int


def run(stage: Stage) -> Told:
    """Break disks, and tell what was found."""
    times = stage.cycles or (QUICK_TIMES if stage.is_quick else TIMES)
    full_s = _QUICK_FULL_S if stage.is_quick else _FULL_S
    scenarios = _SCENARIOS[:2] if stage.is_quick else _SCENARIOS
    every = 2 * len(FAULTS) * times + 3
    with bar("bad disks", every) as tell, without_log():
        done = count(1)

        def step() -> None:
            tell(min(every, next(done)))

        failed = _databases(stage, times, step)
        full = [_full_server(stage, full_s)]
        step()
        full.append(_full_car(stage, full_s))
        step()
        small = [each for each in (_small(stage, name) for name in scenarios) if each is not None]
        step()
    made = checks(failed, full, small)
    body: dict[str, object] = {
        "databases": msgspec.to_builtins(failed),
        "full": msgspec.to_builtins(full),
        "small": msgspec.to_builtins(small),
    }
    return Told(checks=made, body=body, text=_text(failed, full, small, made))


CHAPTER: Final = Chapter(name="storage", title="Disks that are full, read-only or fail", run=run)


def _databases(stage: Stage, times: int, step: Callable[[], None]) -> list[Failed]:
    found = []
    for number, fault in enumerate(FAULTS):
        rng = random.Random(f"{stage.seed} {fault}")
        found.append(journal(stage.folder / f"journal-{number}", fault, times, rng, step))
        found.append(server(stage.folder / f"server-{number}", fault, times, rng, step))
    return found


def _full_server(stage: Stage, full_s: float) -> Full:
    """Fill the server's disk while cars send."""
    with Yard(folder=stage.folder / "full-server", clock=stage.clock, seed=stage.seed) as yard:
        yard.start_cars(3)
        yard.turn_until(yard.are_connected, _LONGEST_S)
        driven = 0
        _fill(yard.server_pid, is_full=True)
        for _ in range(int(full_s)):
            for car in yard.cars:
                car.log()
                driven += 1
            yard.turn_for(1.0)
        waiting = sum(car.waiting for car in yard.cars)
        _fill(yard.server_pid, is_full=False)
        synced_s = yard.turn_until(yard.are_synced, _LONGEST_S)
        return Full(
            who="the server",
            driven=driven,
            waiting=waiting,
            synced_s=round(synced_s, 1),
            found=yard.judge(),
        )


def _full_car(stage: Stage, full_s: float) -> Full:
    """Fill a car's disk again and again while it parks, and that of its agent while it sends."""
    folder = stage.folder / "full-car"
    with Fleet(folder, stage.clock, settings=NO_TRAINING, log_level="error") as fleet:
        car = prepare(fleet)
        car.tell(Floor(scene=str(_scene(folder)), manoeuvres=1_000_000, by="park_by_sensor"))
        fleet.start_drive(car, speed=_SPEED, seed=stage.seed)
        fleet.start_agent(car)
        path, wait = car.home / "journal.sqlite", fleet.processes.wait_for

        def is_at_work() -> bool:
            return read(path).counters.get("pairs_sent", 0) > 0

        # An agent that starts on a full disk ends, and whoever watches it starts it again.
        wait("pairs sent", is_at_work, timeout_s=_LONGEST_S)
        agent = fleet.processes.children[f"{car.name}-agent"].popen.pid
        before, end_us = car.progress()["done"], stage.clock.monotonic_us() + round(full_s * 1e6)
        _fill(agent, is_full=True)
        wait("time", lambda: stage.clock.monotonic_us() >= end_us, timeout_s=_LONGEST_S)
        _fill(agent, is_full=False)
        driven, waiting = int(car.progress()["done"]) - before, read(path).rows_left
        begun_us = stage.clock.monotonic_us()
        fleet.processes.stop(f"{car.name}-drive")
        # What a full disk kept from being written at the end, the next boot settles.
        car.tell(Floor(scene="beige", manoeuvres=1, by="park_by_sensor"))
        fleet.start_drive(car, speed=_SPEED, seed=stage.seed)
        wait("the next boot's manoeuvre", lambda: car.progress()["done"] >= 1, timeout_s=_LONGEST_S)
        fleet.processes.stop(f"{car.name}-drive")
        wait("an empty queue", lambda: read(path).rows_left == 0, timeout_s=_LONGEST_S)
        return Full(
            who="a car's drive and agent",
            driven=driven,
            waiting=waiting,
            synced_s=round((stage.clock.monotonic_us() - begun_us) / 1e6, 1),
            unwritten=read(path).counters.get("dropped_unwritten", 0),
            found=verdict.judge({car.name: path}, fleet.server_state / "server.sqlite"),
        )


def _scene(folder: Path) -> Path:
    """Write a scene in which the car's disk is full every other quarter of a minute."""
    scene = folder / "scene.toml"
    faults = [
        f'[[faults]]\nname = "disk_full"\nfrom_s = {15.0 + 30.0 * number}\nfor_s = 15.0\n'
        for number in range(100)
    ]
    beige = (scenes.SCENES / "beige.toml").read_text("utf-8")
    beige = beige.replace('"textures/', f'"{scenes.SCENES}/textures/')
    scene.write_text("\n".join([beige, *faults]), "utf-8")
    return scene


def _fill(pid: int, *, is_full: bool) -> None:
    """Let no file of a process grow any more, or again."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))


def _small(stage: Stage, scenario: str) -> Small | None:
    """Return how a car parked on a small disk, None where this user may not mount one."""
    folder = stage.folder / scenario
    folder.mkdir()
    shell = ["unshare", "-m", "sh", "-c", _MOUNT, "sh", str(folder)]
    if subprocess.run([*shell, "true"], capture_output=True, check=False).returncode:
        return None
    told = subprocess.run(
        [*shell, sys.executable, "-m", "tests.device.drive.small_disk", scenario, str(folder)],
        capture_output=True,
        check=True,
        cwd=_ROOT,
    )
    stood_mm = msgspec.json.decode(told.stdout)["stood_mm"]
    missed = sum(abs(each - _TARGET_MM) > _AROUND_MM for each in stood_mm)
    return Small(scenario=scenario.replace("_", " "), parked=len(stood_mm), missed=missed)


def checks(failed: Sequence[Failed], full: Sequence[Full], small: Sequence[Small]) -> list[Check]:
    """Return what decides; the last two tell whether enough was at stake."""
    total = Found()
    for each in full:
        total = total.plus(each.found)
    faults = {
        **total.wrong,
        "rows lost on bad disks": sum(each.lost for each in failed),
        "rows doubled, altered or torn on bad disks": sum(each.doubled for each in failed),
        "databases unsound after bad disks": sum(each.unsound for each in failed),
        "errors other than `come again` on bad disks": sum(each.crashes for each in failed),
        "manoeuvres beside the target on small disks": sum(each.missed for each in small),
    }
    return [
        *none("storage", faults),
        *(
            Check(
                name=f"storage: all synced once {each.who} had room again",
                value=each.synced_s,
                unit="s",
                limit=LIMIT_S,
                better="lower",
            )
            for each in full
        ),
        enough(
            "storage", "bad disks that refused", sum(e.refused > 0 for e in failed), len(failed)
        ),
        enough("storage", "manoeuvres driven with a full disk", min(e.driven for e in full), 3),
    ]


def _text(
    failed: Sequence[Failed], full: Sequence[Full], small: Sequence[Small], made: list[Check]
) -> str:
    head = (
        "| database | disk | operations failed | told to come again | lost | doubled or torn "
        "| unsound | crashes |\n|---|---|---:|---:|---:|---:|---:|---:|"
    )
    rows = [
        f"| {e.what} | {e.fault} | {e.operations:,} | {e.refused:,} | {e.lost} | {e.doubled} "
        f"| {e.unsound} | {e.crashes} |"
        for e in failed
    ]
    processes = [
        f"The disk of {e.who} was full: {e.driven} manoeuvres meanwhile, {e.waiting} rows waited "
        f"at the end, all receipted {e.synced_s:.1f} s later; {e.found.pairs} pairs committed, "
        f"{e.unwritten} never could be, and were counted."
        for e in full
    ]
    disks = "; ".join(f"{e.scenario}: {e.parked} of {e.parked} parked" for e in small)
    said = f"On small disks: {disks}." if small else "No small disk could be mounted here."
    return "\n\n".join(["\n".join([head, *rows]), *processes, said, checks_table(made)])
