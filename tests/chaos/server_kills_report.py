"""The chapter of the killed server: what decides, and a plot of what the kills fell into."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, Literal

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.processes import Processes
from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from shared.clock import Clock
from tests.chaos.chapter import Chapter, Stage, Told
from tests.chaos.kills import NO_TRAINING
from tests.chaos.promises import Faults
from tests.chaos.server_kills import Kill, Killed, Lane, Setup, has_mosquitto

CYCLES: Final = 200
QUICK_CYCLES: Final = 12
_LANES: Final = 2
_PAIR_SHARE: Final = 4

Plan = Sequence[tuple[Setup, int]]
"""The lanes, which run side by side, and how often a server is killed in each."""

_COLOURS: Final = {
    "in an open transaction": "#b3387b",
    "between commit and receipt": "#c77d1e",
    "while messages were under way": "#0a7d8c",
    "while nothing was under way": "#8a8a8a",
}


def plan(cycles: int) -> Plan:
    """Return lanes for `cycles` kills of a whole server, and a quarter as many of one of two.

    Only mosquitto shares batches between two ingest processes.
    """
    alone = [cycles // _LANES + (lane < cycles % _LANES) for lane in range(_LANES)]
    lanes: list[tuple[Setup, int]] = [("alone", each) for each in alone if each]
    return [*lanes, ("pair", max(1, cycles // _PAIR_SHARE))] if has_mosquitto() else lanes


def run(stage: Stage) -> Told:
    """Kill, let everything arrive, and tell what was found."""
    lanes = plan(stage.cycles or (QUICK_CYCLES if stage.is_quick else CYCLES))
    total = sum(cycles for _, cycles in lanes)
    with bar(f"kill -9 of the server, {total} cycles", total) as tell:
        found = in_lanes(lanes, stage.folder, seed=stage.seed, clock=stage.clock, tell=tell)
    plot(found, stage.out / "server-kills.png")
    made = checks(found)
    return Told(checks=made, body={"lanes": msgspec.to_builtins(found)}, text=_text(found, made))


CHAPTER: Final = Chapter(
    name="server-kills", title="The server killed while it takes in batches", run=run
)


def in_lanes(
    lanes: Plan,
    folder: Path,
    *,
    seed: int,
    clock: Clock,
    tell: Callable[[int], None] = lambda _done: None,
) -> list[Killed]:
    """Run lanes side by side in folders below `folder`; return what each found.

    Raises:
        ParkfleetError: a lane failed; the others were ended.
    """
    environment = {**os.environ, "PARKFLEET_LOG_LEVEL": "info", **NO_TRAINING}
    done: list[None] = []

    def told() -> None:
        done.append(None)
        tell(len(done))

    stop = threading.Event()
    with ExitStack() as stack:
        runs = []
        for number, (setup, cycles) in enumerate(lanes):
            logs = folder / f"{setup}-{number}" / "logs"
            processes = stack.enter_context(Processes(logs, clock, environment))
            lane = Lane(processes, setup=setup, seed=seed * 100 + number, clock=clock, stop=stop)
            runs.append(partial(lane.run, cycles, told))
        pool = stack.enter_context(ThreadPoolExecutor(len(runs)))
        stack.callback(stop.set)
        futures = [pool.submit(each) for each in runs]
        for future in as_completed(futures):
            future.result()
        return [future.result() for future in futures]


def checks(found: Sequence[Killed]) -> list[Check]:
    """Return what decides; the last four tell whether enough was at stake."""
    kills = [kill for each in found for kill in each.kills]
    whole = [kill for each in found if each.setup == "alone" for kill in each.kills]
    # The one of two that lives on has receipts on their way at any time.
    unheard = sum(kill.unheard > 0 for kill in whole)
    return [
        *(_check(name, value, 0, "lower") for name, value in _wrong(found).items()),
        _check("kills while messages were under way", _under_way(kills), len(kills) // 2, "higher"),
        _check(
            "kills in an open transaction",
            sum(kill.was_writing for kill in kills),
            len(kills) // 10,
            "higher",
        ),
        _check(
            "kills of a whole server between commit and receipt",
            unheard,
            len(whole) // 20,
            "higher",
        ),
        _check(
            "messages that came again, and were receipted as duplicates",
            sum(each.duplicates for each in found),
            len(kills),
            "higher",
        ),
    ]


def _wrong(found: Sequence[Killed]) -> dict[str, int]:
    faults = Faults()
    for each in found:
        faults = faults.plus(each.faults)
    return {
        "pairs acknowledged and lost": faults.lost_pairs,
        "pictures and ends of manoeuvres acknowledged and lost": faults.lost_others,
        "rows stored and gone after a kill": faults.gone,
        "rows doubled": faults.doubled,
        "rows altered": faults.altered,
        "rows and messages that no car sent": faults.unknown,
        "messages stored in part": faults.torn,
        "counters that differ from the rows": faults.miscounted,
        "tallies that differ from the rows": faults.mistallied,
        "databases found unsound": faults.unsound,
        "messages that the server refused": sum(len(each.rejected) for each in found),
    }


def fell_into(kill: Kill) -> str:
    """Return what a kill fell into, in words."""
    if kill.was_writing:
        return "in an open transaction"
    if kill.unheard:
        return "between commit and receipt"
    return f"while {'messages were' if kill.under_way else 'nothing was'} under way"


def plot(found: Sequence[Killed], path: Path) -> None:
    """Draw each kill by the age of the killed process and the receipts that had come of it."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True, squeeze=False)[0]
    titles: dict[Setup, str] = {"alone": "one process", "pair": "one of two that share batches"}
    for axis, (setup, title) in zip(axes, titles.items(), strict=True):
        kills = [kill for each in found if each.setup == setup for kill in each.kills]
        for name, colour in _COLOURS.items():
            of = [kill for kill in kills if fell_into(kill) == name]
            across, up = [kill.after_s for kill in of], [kill.answers for kill in of]
            axis.plot(across, up, ".", color=colour, markersize=5, label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xscale("log")
        axis.set_xlabel("seconds since the process was started", fontsize=8)
    axes[0].set_ylabel("receipts since it was at work", fontsize=8)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _text(found: Sequence[Killed], made: list[Check]) -> str:
    kills = [kill for each in found for kill in each.kills]
    fallen = Counter(fell_into(kill) for kill in kills)
    pair = sum(len(each.kills) for each in found if each.setup == "pair")
    summary = (
        f"{len(kills)} kills ({len(kills) - pair} of a whole server, {pair} of one of two ingest "
        f"processes that share batches) in {max(each.seconds for each in found):.0f} s, over "
        f"{'mosquitto' if has_mosquitto() else 'the embedded broker'}: "
        + ", ".join(f"{fallen[name]} {name}" for name in _COLOURS if fallen[name])
        + f". {sum(each.pairs for each in found)} pairs were acknowledged, in "
        f"{sum(each.stored for each in found)} receipts; {sum(each.duplicates for each in found)} "
        "more said that a message had come before."
    )
    alone = (
        "" if pair else "No mosquitto is installed here, so no two processes shared batches.\n\n"
    )
    picture = "![When the kills fell, and into what](server-kills.png)"
    return f"{summary}\n\n{alone}{checks_table(made)}\n\n{picture}"


def _under_way(kills: Sequence[Kill]) -> int:
    return sum(kill.under_way > 0 for kill in kills)


def _check(name: str, value: int, limit: int, better: Literal["lower", "higher"]) -> Check:
    return Check(name=f"server kills: {name}", value=value, unit="", limit=limit, better=better)
