"""The chapter of the lost power: what a disk may hold after a cut at any instant.

*Journal* and *server database*: SQLite writes on a watched disk (`disk`), committing one manoeuvre
or batch after the other, with checkpoints. At instants drawn from the seed the power is cut: what
was flushed is there, what was not is lost, kept or torn, in any part. Each such disk is opened
again. *Car's models and metadata*, *server's releases*: an update and a release, with a cut before
every operation on a file; unflushed files are lost, or half of each is there.

Laws:
- what was committed before the cut is there, whole; of what was being committed all or nothing;
- SQLite's integrity check finds every file sound, and work goes on with it;
- a car that had a model has one that loads, and the update ends in the new one; the server's
  metadata verify, and the release can be made again.
"""

import random
from collections.abc import Sequence
from itertools import count
from typing import Final

import msgspec

from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos.chapter import Chapter, Stage, Told, enough, none
from tests.chaos.power_databases import journal, server
from tests.chaos.power_files import releases, updates
from tests.chaos.power_found import Tried
from tests.chaos.silence import without_log

STATES: Final = 4000
QUICK_STATES: Final = 300
_FILES: Final = 450
"""About so many disks come of an update and a release; a progress bar is no promise."""


def run(stage: Stage) -> Told:
    """Cut the power, and tell what was found."""
    states = stage.cycles or (QUICK_STATES if stage.is_quick else STATES)
    every = 2 * states + (_FILES // 4 if stage.is_quick else _FILES)
    rng = random.Random(stage.seed)
    folders = [stage.folder / name for name in ("journal", "server", "updates", "releases")]
    for folder in folders:
        folder.mkdir()
    with bar("power cuts", every) as tell, without_log():
        done = count(1)

        def step() -> None:
            tell(min(every, next(done)))

        tried = [
            journal(folders[0], states, rng, step),
            server(folders[1], states, rng, step),
            updates(folders[2], is_quick=stage.is_quick, tell=step),
            releases(folders[3], is_quick=stage.is_quick, tell=step),
        ]
    made = checks(tried)
    body = {"tried": msgspec.to_builtins(tried)}
    return Told(checks=made, body=body, text=_text(tried, made))


CHAPTER: Final = Chapter(name="power", title="The power cut at every instant", run=run)


def checks(tried: Sequence[Tried]) -> list[Check]:
    """Return what decides; the last two tell whether enough was at stake."""
    states = sum(each.states for each in tried)
    faults = {
        "committed rows lost": sum(each.lost for each in tried),
        "disks with half of a transaction": sum(each.torn for each in tried),
        "disks found unsound": sum(each.unsound for each in tried),
        "cars without a model that loads": sum(each.bare for each in tried),
        "disks on which work did not go on": sum(each.stuck for each in tried),
    }
    unsure = sum(each.unsure for each in tried)
    return [
        *none("power", faults),
        enough("power", "disks cut while something was not flushed", unsure, states // 2),
        enough("power", "kinds of disk tried", sum(each.states > 0 for each in tried), 4),
    ]


def _text(tried: Sequence[Tried], made: list[Check]) -> str:
    head = (
        "| disk | operations | cuts | with writes not flushed | lost | torn | unsound | stuck "
        "| no model |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    rows = [
        f"| {e.what} | {e.operations:,} | {e.states:,} | {e.unsure:,} | {e.lost} | {e.torn} "
        f"| {e.unsound} | {e.stuck} | {e.bare} |"
        for e in tried
    ]
    return "\n\n".join(["\n".join([head, *rows]), checks_table(made)])
