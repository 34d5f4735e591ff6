"""Which benchmarks there are, how each is run in full and for a look, and how runs are joined.

Laws:
- each benchmark is a process of its own, one after the other: none measures another's leavings;
- each prints one JSON object with its `checks`, its `curves` where something grows, and whatever
  else it has to say;
- of several runs the median of each figure counts; a figure that only some runs printed is refused;
- what cannot be short is left out of a quick look, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from hardware_sim.lab.report import Check
from shared.errors import RefusedError
from tests.benchmarks.scaling import Curve


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One benchmark: its name, what it measures, and what makes it a quick look.

    `module` is what is run, "" for that of its name here.
    `quick` is None where there is no quick look; `runs` says how often it is run in full, one that
    takes turns in itself once; `takes_recordings` whether it takes a folder of them.
    """

    name: str
    what: str
    module: str = ""
    quick: tuple[str, ...] | None = ()
    full: tuple[str, ...] = ()
    runs: int = 1
    takes_recordings: bool = False

    def words(self, *, is_quick: bool, recorded: Path | None = None) -> tuple[str, ...]:
        """Return the words after `python -m`; `recorded` is a folder for one that takes it."""
        arguments = (self.quick or ()) if is_quick else self.full
        if recorded is not None and self.takes_recordings:
            arguments += ("--recorded", str(recorded))
        return (self.module or f"tests.benchmarks.{self.name}", *arguments)


BENCHES: Final = (
    Bench(name="bench_estimate", what="frame to estimate", quick=("--rounds", "600"), runs=3),
    Bench(name="bench_yardsticks", what="models everybody knows", quick=None),
    Bench(name="bench_loop_jitter", what="control loop", quick=("--seconds", "4", "--runs", "1")),
    Bench(name="bench_codec", what="wire codec", quick=("--rounds", "100"), runs=3),
    Bench(name="bench_journal", what="journal", quick=("--rounds", "40"), runs=3),
    Bench(name="bench_memory", what="memory of a car's processes", quick=None),
    Bench(name="rendering", what="renderer"),
    Bench(name="motors_off", what="motors of a dead drive", quick=("--times", "2")),
    Bench(name="fleet", what="a thousand cars in one process", quick=("--quick",)),
    Bench(name="bench_backlog", what="backlog", quick=("--minutes", "1", "--minutes", "3")),
    Bench(name="bench_fan_out", what="a model to many cars", quick=("--cars", "1", "--cars", "20")),
    Bench(
        name="bench_presence",
        what="connected cars",
        quick=None,
    ),
    Bench(
        name="bench_ingest",
        what="ingest",
        quick=("--rounds", "1", "--batches", "100", "--rows", "50000"),
    ),
    Bench(name="bench_ingest_growth", what="ingest over size, rows, and one by one", quick=None),
    Bench(name="bench_bad_input", what="bad input and floods", quick=("--seconds", "2"), runs=3),
    Bench(
        name="bench_console",
        what="web console",
        quick=("--cars", "2000", "--rounds", "2", "--seconds", "2"),
    ),
    Bench(name="bench_drift", what="drift", quick=("--manoeuvres", "2000", "--repeats", "2")),
    Bench(name="bench_rollouts", what="a canary with silent and failing cars", quick=None),
    Bench(name="bench_worth", what="a model's worth", quick=None, takes_recordings=True),
    Bench(name="bench_training", what="search beside fits", quick=None),
    Bench(
        name="parking",
        what="parking by camera",
        module="shared",
        quick=None,
        full=("sim", "park", "--json"),
    ),
)


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """What of a benchmark's JSON counts here."""

    checks: tuple[Check, ...]
    curves: tuple[Curve, ...] = ()


def joined(runs: Sequence[Printed], count: int) -> Printed:
    """Return the median of `count` runs: of each check, and of each point of each curve.

    Raises:
        RefusedError: there are fewer, or they are not of the same figures.
    """
    if len(runs) < count:
        raise RefusedError(f"{count - len(runs)} of {count} runs printed no figures")
    first = runs[0]
    names = [each.name for each in first.checks]
    sizes = [[x for x, _ in each.points] for each in first.curves]
    for other in runs[1:]:
        alike = [each.name for each in other.checks] == names
        if not alike or [[x for x, _ in each.points] for each in other.curves] != sizes:
            raise RefusedError("its runs did not print the same figures")
    checks = [_middle([run.checks[at] for run in runs]) for at in range(len(names))]
    curves = [_between([run.curves[at] for run in runs]) for at in range(len(sizes))]
    return Printed(checks=tuple(checks), curves=tuple(curves))


def _middle(same: Sequence[Check]) -> Check:
    return msgspec.structs.replace(
        same[0],
        value=median(each.value for each in same),
        limit=median(each.limit for each in same),
    )


def _between(same: Sequence[Curve]) -> Curve:
    def points(name: str) -> tuple[tuple[float, float], ...]:
        every = [getattr(each, name) for each in same]
        return tuple((at[0][0], median(y for _, y in at)) for at in zip(*every, strict=True))

    return msgspec.structs.replace(same[0], points=points("points"), bound=points("bound"))
