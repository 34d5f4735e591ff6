"""`parkfleet evaluate`: a thin shell over `hardware_sim.lab.evaluation.protocol`.

Laws:
- what a phase left is in the state folder before the next one begins: an interrupted run is gone on
  with by the same command, a finished one begins anew;
- only a folder that an evaluation made is emptied for a new one.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console

from hardware_sim.lab import folders
from hardware_sim.lab.evaluation import recorded_phase
from hardware_sim.lab.evaluation.phases import PHASES, QUICK, Phase, Plan
from hardware_sim.lab.evaluation.phases import chosen as phases_of
from hardware_sim.lab.evaluation.protocol import Evaluation
from hardware_sim.lab.evaluation.report import build
from hardware_sim.lab.evaluation.stretches import Done
from hardware_sim.lab.evaluation.view import Board
from hardware_sim.lab.fleet import Fleet
from hardware_sim.lab.measure import join, read_truth
from hardware_sim.lab.processes import WaitTimeoutError
from hardware_sim.lab.report import Check
from shared import cli
from shared.clock import SystemClock
from shared.errors import ParkfleetError, UsageError


class Kept(msgspec.Struct, kw_only=True):
    """How far an evaluation is, as the state folder has it."""

    plan: Plan
    phases: tuple[int, ...]
    seconds: float = 0.0
    deployment: str = ""
    done: list[Done] = msgspec.field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Tell whether all phases are done."""
        return len(self.done) == len(self.phases)


@click.command(epilog="Example: parkfleet evaluate --quick --state var/evaluation")
@click.option("--quick", is_flag=True, help="Fewer phases and manoeuvres: a look, not a figure.")
@click.option(
    "--until", type=click.IntRange(1, len(PHASES)), default=len(PHASES), show_default=True,
    help="End after this phase.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 10_000_000), default=1, show_default=True,
    help="Draws the cars' motors, noise and places.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=1, show_default=True,
    help="Repeat with so many seeds, from --seed on.",
)  # fmt: skip
@click.option(
    "--recorded",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A folder of recorded data that is learned and judged, too: images/ and labels.csv.",
)
@click.option("--fresh", is_flag=True, help="Begin anew where an interrupted run could go on.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/evaluation"),
    show_default=True,
    help="Where cars and server keep their state.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/evaluation"),
    show_default=True,
    help="Where the report goes.",
)
@cli.json_option
def evaluate(
    *,
    quick: bool,
    until: int,
    seed: int,
    seeds: int,
    recorded: Path | None,
    fresh: bool,
    state: Path,
    out: Path,
    as_json: bool,
) -> int:
    """Drive the reference evaluation: changes, what must not be learned; and report.

    An interrupted run goes on after its last whole phase. Exit code 1 where a figure misses its
    limit.
    """
    phases = phases_of(quick=quick, until=until)
    if recorded is not None:
        recorded_phase.split(recorded, seed)
    checks: list[Check] = []
    for each in range(seed, seed + seeds):
        plan = dataclasses.replace(QUICK if quick else Plan(), seed=each)
        places = (state, out) if seeds == 1 else (state / f"seed-{each}", out / f"seed-{each}")
        with folders.held(*places, "evaluation"):
            checks += _evaluate(plan, phases, *places, recorded=recorded, fresh=fresh)
    met = all(check.met for check in checks)
    told = out if seeds == 1 else out / f"seed-{seed}"
    missed = "".join(f"\nmissed: {c.name}: {c.value:.4g} {c.unit}" for c in checks if not c.met)
    cli.emit(
        {"report": str(told / "report.json"), "met": met},
        as_json=as_json,
        text=f"report: {told / 'report.md'}{missed}",
    )
    return 0 if met else 1


def _evaluate(
    plan: Plan,
    phases: Sequence[Phase],
    state: Path,
    out: Path,
    *,
    recorded: Path | None,
    fresh: bool,
) -> list[Check]:
    kept = taken_up(state, plan, phases, fresh=fresh)
    clock = SystemClock()
    begun_us = clock.monotonic_us()
    before_s = kept.seconds

    def keep(deployment: str, done: Sequence[Done]) -> None:
        kept.deployment, kept.done = deployment, list(done)
        kept.seconds = before_s + (clock.monotonic_us() - begun_us) / 1e6
        write(state, kept)

    with (
        Fleet(state, clock, settings=plan.server_settings) as fleet,
        Board(phases, plan, clock, Console(stderr=True)) as board,
    ):
        evaluation = Evaluation(fleet, plan, clock, board, keep)
        try:
            done = evaluation.run(phases, kept.deployment, kept.done)
        except WaitTimeoutError as error:
            raise ParkfleetError(f"{error}; the logs: {state / 'logs'}") from None
        # Of all cars that ever drove: a run that goes on starts no more than it needs.
        pairs = {
            car.name: join(evaluation.book.samples(car.name), read_truth(car / "truth.csv"))
            for car in sorted((state / "cars").iterdir())
        }
    found = None
    if recorded is not None:
        settings = plan.server_settings
        found = recorded_phase.judged(state / "recorded", clock, settings, recorded, plan.seed)
    seconds = before_s + (clock.monotonic_us() - begun_us) / 1e6
    return build(done, pairs, out, seconds, recorded=found)


def taken_up(state: Path, plan: Plan, phases: Sequence[Phase], *, fresh: bool) -> Kept:
    """Return the run that `state` holds, where it can go on; else a new one, in an empty folder.

    Raises:
        UsageError: the folder holds something else than an evaluation.
    """
    new = Kept(plan=plan, phases=tuple(phase.number for phase in phases))
    found = _read(state)
    if found is not None and not fresh and not found.is_over:
        same = found.plan == new.plan and found.phases == new.phases
        if same and found.done:
            return found
    if found is None and any(each.name != "lock" for each in state.iterdir()):
        raise UsageError(f"{state} holds no evaluation: choose another --state, or empty it")
    for each in state.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != "lock":
            each.unlink()
    write(state, new)
    return new


def _read(state: Path) -> Kept | None:
    try:
        return msgspec.json.decode((state / "evaluation.json").read_bytes(), type=Kept)
    except OSError:
        return None
    except msgspec.MsgspecError:
        # Another version's: it is an evaluation, and cannot be gone on with.
        return Kept(plan=Plan(), phases=())


def write(state: Path, kept: Kept) -> None:
    """Keep how far a run is, in one rename."""
    temporary = state / "evaluation.new"
    temporary.write_bytes(msgspec.json.encode(kept))
    temporary.replace(state / "evaluation.json")
