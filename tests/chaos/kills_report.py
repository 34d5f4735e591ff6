"""The chapter of the killed processes: what decides, and a plot of what was at stake when."""

from pathlib import Path
from typing import Final, Literal

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.fleet import Fleet
from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos.chapter import Chapter, Stage, Told
from tests.chaos.kills import NO_TRAINING, VICTIMS, Killed, Killing, prepare

CYCLES: Final = 300
"""A third of them kill both processes, so that each is killed 200 times."""

QUICK_CYCLES: Final = 10

_COLOURS: Final = {"drive": "#0a7d8c", "agent": "#c77d1e", "both": "#b3387b"}


def run(stage: Stage) -> Told:
    """Kill, let everything arrive, and tell what was found."""
    cycles = stage.cycles or (QUICK_CYCLES if stage.is_quick else CYCLES)
    with Fleet(stage.folder, stage.clock, settings=NO_TRAINING, log_level="warning") as fleet:
        killing = Killing(fleet, prepare(fleet), seed=stage.seed, clock=stage.clock)
        with bar(f"kill -9, {cycles} cycles", cycles) as tell:
            found = killing.run(cycles, tell)
    plot(found, stage.out / "kills.png")
    made = checks(found)
    return Told(checks=made, body=msgspec.to_builtins(found), text=_text(found, made))


CHAPTER: Final = Chapter(name="kills", title="Drive and agent killed at random", run=run)


def checks(found: Killed) -> list[Check]:
    """Return what decides; the last five tell whether enough was at stake."""
    verdict, cycles = found.verdict, len(found.kills)
    faults = {
        "committed pairs lost on the car": found.missing,
        "committed pairs lost on the way to the server": verdict.lost,
        "pairs doubled": verdict.doubled,
        "pairs altered": found.altered + verdict.altered,
        "pairs on the server that were never committed": verdict.unknown,
        "pictures lost on the way to the server": verdict.bare,
        "ends of manoeuvres lost": verdict.endless,
        "holes in a boot's numbers": found.holes,
        "pairs by which the journal's counters differ from its rows": found.miscounted,
        "journals found unsound": len(found.unsound),
        "messages that the server refused": found.quarantined,
    }
    waiting = sum(each.waiting > 0 for each in found.kills)
    working = sum(each.was_at_work for each in found.kills)
    return [
        *(_check(name, value, 0, "lower") for name, value in faults.items()),
        *(
            _check(f"times that {name} was killed", count, 2 * cycles // 3, "higher")
            for name, count in _times(found).items()
        ),
        _check("pairs committed", verdict.pairs, cycles, "higher"),
        _check("kills while pairs waited to be sent", waiting, cycles // 4, "higher"),
        _check("kills after pairs were logged and sent", working, cycles // 4, "higher"),
    ]


def _times(found: Killed) -> dict[str, int]:
    victims = [each.victim for each in found.kills]
    return {name: sum(each in (name, "both") for each in victims) for name in ("drive", "agent")}


def plot(found: Killed, path: Path) -> None:
    """Draw pairs committed and pairs waiting before each kill, a dot each, by victim."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for victim in VICTIMS:
        kills = [each for each in found.kills if each.victim == victim]
        seconds = [each.second for each in kills]
        style = {"color": _COLOURS[victim], "markersize": 4, "label": f"{victim} killed"}
        above.plot(seconds, [each.committed for each in kills], ".", **style)
        below.plot(seconds, [each.waiting for each in kills], ".", **style)
    above.set_ylabel("pairs committed", fontsize=8)
    above.legend(fontsize=8)
    below.set_ylabel("pairs waiting", fontsize=8)
    below.set_xlabel("seconds", fontsize=8)
    figure.savefig(path, dpi=110)


def _text(found: Killed, made: list[Check]) -> str:
    verdict, kills = found.verdict, found.kills
    each = ", ".join(f"{sum(k.victim == v for k in kills)} x {v}" for v in VICTIMS)
    summary = (
        f"{len(kills)} kills ({each}) in {found.seconds:.0f} s, "
        f"{sum(k.was_moving for k in kills)} of them within a manoeuvre; "
        f"{verdict.pairs} pairs and {verdict.pictures} pictures were committed, "
        f"{found.unwritten} pairs were in a killed process's memory, and counted as that."
    )
    picture = "![Pairs committed and waiting at each kill](kills.png)"
    return "\n\n".join([summary, checks_table(made), picture])


def _check(name: str, value: int, limit: int, better: Literal["lower", "higher"]) -> Check:
    return Check(name=f"kills: {name}", value=value, unit="", limit=limit, better=better)
