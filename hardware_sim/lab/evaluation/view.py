"""How an evaluation goes, on the terminal: the phase, its stage, manoeuvres, and how much is done.

Laws:
- the share that is done counts manoeuvres, and each loop as so many: it is a guess at time, and
  never falls;
- without a terminal (CI, a pipe) the same comes as lines, one a stage.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hardware_sim.lab.evaluation.phases import CARS, Phase, Plan
from hardware_sim.lab.evaluation.stretches import Done, Tell
from shared.clock import Clock

_LOOP: Final = 80
"""Manoeuvres that take about as long as a training with its trial."""


class Board(Tell):
    """Shows an evaluation on a console. Use as a context."""

    def __init__(self, phases: Sequence[Phase], plan: Plan, clock: Clock, console: Console) -> None:
        """Prepare; `phases` are all of the run."""
        self._console, self._clock = console, clock
        self._shares = [_weight(phase, phases[:at], plan) for at, phase in enumerate(phases)]
        self._phases = list(phases)
        self._passed = self._in_phase = 0
        self._current: Phase | None = None
        self._since_us, self._what, self._planned = clock.monotonic_us(), "", 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=sum(self._shares))

    def __enter__(self) -> Self:
        """Begin to show."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the stage and leave what was said standing."""
        self._end_stage()
        self._progress.stop()

    def phase(self, phase: Phase) -> None:
        """Begin a phase."""
        self._end_stage()
        at = self._phases.index(phase)
        self._current, self._in_phase = phase, 0
        self._passed = sum(self._shares[:at])
        self._console.print(f"phase {phase.number} of {self._phases[-1].number}: {phase.title}")

    def stage(self, what: str, manoeuvres: int = 0) -> None:
        """Begin a stage."""
        self._end_stage()
        self._what, self._planned = what, manoeuvres
        self._since_us = self._clock.monotonic_us()
        self._show(0)

    def driven(self, manoeuvres: int) -> None:
        """Show how many of the stage's manoeuvres are driven."""
        self._show(min(manoeuvres, self._planned))

    def done(self, done: Done) -> None:
        """End the phase with what came of it."""
        self._end_stage()
        named = sorted({each["cause"] for each in done.verdicts if each["kind"] != "change"})
        kinds = dict.fromkeys(each["kind"] for each in done.decisions)
        self._console.print(
            f"  -> cause: {', '.join(named) or 'none'}; decided: {', '.join(kinds) or 'nothing'}; "
            f"{done.seconds:.0f} s",
            highlight=False,
        )

    def _end_stage(self) -> None:
        if not self._what:
            return
        seconds = (self._clock.monotonic_us() - self._since_us) / 1e6
        self._in_phase += self._planned
        if not self._console.is_terminal:
            share = self._share(0)
            self._console.print(f"[{share:3.0f} %] {seconds:6.1f} s  {self._what}", markup=False,
                                highlight=False, soft_wrap=True)  # fmt: skip
        self._what, self._planned = "", 0

    def _share(self, driven: int) -> float:
        return 100.0 * self._units(driven) / max(1, sum(self._shares))

    def _units(self, driven: int) -> int:
        if self._current is None:
            return 0
        most = self._shares[self._phases.index(self._current)]
        return self._passed + min(self._in_phase + driven, most)

    def _show(self, driven: int) -> None:
        number = self._current.number if self._current else 0
        count = f" {driven}/{self._planned}" if self._planned else ""
        text = f"phase {number}: {self._what[:44]}{count}"
        self._progress.update(self._task, description=text, completed=self._units(driven))


def _weight(phase: Phase, earlier: Sequence[Phase], plan: Plan) -> int:
    """Return how many manoeuvres of all cars a phase is worth."""
    if not earlier:
        return (plan.learn + plan.measure) * len(CARS) + _LOOP
    if phase.floors:
        return plan.measure * len(phase.floors)
    if phase.expected == "retrain":
        learnt = sum(each.expected == "retrain" for each in earlier)
        return (2 * plan.measure + learnt * plan.again) * len(CARS) + _LOOP
    calm = plan.calm if phase.expected == "check-sensor" else 0
    return (plan.measure * (2 if phase.steps else 1) + calm) * len(CARS)
