"""The live view of an experiment in the terminal: stages, cars, training, error per manoeuvre.

Laws:
- what is shown is a pure function of `Scene`; the shell around it only redraws;
- without a terminal (CI, a pipe) the same story comes as plain lines, one a stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from shared.clock import Clock

_BARS = "▁▂▃▄▅▆▇█"
_CAR_COLOURS = ("cyan", "magenta", "yellow", "green")
_BARS_SHOWN = 48


@dataclass
class Stage:
    """One step of the story; `seconds` is None while it runs."""

    title: str
    started_us: int
    seconds: float | None = None
    outcome: str = ""


@dataclass
class CarLine:
    """One car as shown; `errors_mm` holds one mean per manoeuvre, None where no model ran."""

    name: str
    floor: str = ""
    network: str = "on"
    loaded: str = "no model"
    driven: str = ""
    errors_mm: Sequence[float | None] = ()


@dataclass
class Scene:
    """Everything on the screen."""

    title: str
    address: str = ""
    stages: list[Stage] = field(default_factory=list)
    cars: dict[str, CarLine] = field(default_factory=dict)
    training: tuple[str, float] | None = None
    pairs: tuple[int, int] = (0, 0)


def bars(values: Sequence[float | None], top: float) -> str:
    """Return one block character a value, full at `top`; a dot where there is no value.

    >>> bars([0.0, 5.0, 10.0, None], top=10.0)
    '▁▄█·'
    """
    last = len(_BARS) - 1
    return "".join(
        "·" if value is None else _BARS[min(last, int(last * max(value, 0.0) / top))]
        for value in values
    )


def draw(scene: Scene) -> RenderableType:
    """Return the whole view."""
    stages = Table.grid(padding=(0, 1))
    for stage in scene.stages:
        mark: RenderableType = Text("✓", "green") if stage.seconds is not None else Spinner("dots")
        took = "" if stage.seconds is None else f"{stage.seconds:.0f} s"
        stages.add_row(mark, Text(stage.title), Text(took, "dim"), Text(stage.outcome, "dim"))
    parts: list[RenderableType] = [stages, Text(), _cars(scene)]
    if scene.training is not None:
        parts += [Text(), _training(*scene.training)]
    sent, logged = scene.pairs
    parts += [
        Text(),
        Text(f"pairs stored on the server {sent} of {logged} logged on the cars", "dim"),
    ]
    subtitle = f"[link={scene.address}]{scene.address}[/link]" if scene.address else None
    return Panel(Group(*parts), title=scene.title, subtitle=subtitle, padding=(1, 2))


def _cars(scene: Scene) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("car", "network", "floor", "driven", "model", "error now", "per manoeuvre"):
        table.add_column(heading, no_wrap=heading != "per manoeuvre")
    every = [e for car in scene.cars.values() for e in car.errors_mm if e is not None]
    top = max([20.0, *every])
    for colour, car in zip(_CAR_COLOURS * len(scene.cars), scene.cars.values(), strict=False):
        known = [error for error in car.errors_mm if error is not None]
        table.add_row(
            Text(car.name, colour),
            Text(car.network, "" if car.network == "on" else "red"),
            car.floor,
            car.driven,
            car.loaded,
            f"{known[-1]:.1f} mm" if known else "",
            Text(bars(car.errors_mm[-_BARS_SHOWN:], top), colour),
        )
    return table


def _training(stage: str, fraction: float) -> Table:
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=1.0, completed=fraction, width=40)
    grid.add_row("training", bar, f"{fraction:.0%}", Text(stage, "dim"))
    return grid


class View:
    """Shows a `Scene` while it changes. Use as a context."""

    def __init__(self, scene: Scene, clock: Clock, console: Console | None = None) -> None:
        """Prepare; nothing is drawn yet."""
        self.scene = scene
        self._clock = clock
        self.console = console or Console()
        self._live = Live(
            console=self.console,
            get_renderable=lambda: draw(self.scene),
            refresh_per_second=4,
            auto_refresh=self.console.is_terminal,
        )

    def __enter__(self) -> Self:
        """Begin to draw, where there is a terminal."""
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw once more and leave the picture standing."""
        if self.console.is_terminal:
            self._live.stop()

    def begin(self, title: str) -> Stage:
        """Open a stage of the story."""
        stage = Stage(title, self._clock.monotonic_us())
        self.scene.stages.append(stage)
        return stage

    def end(self, stage: Stage, outcome: str = "") -> None:
        """Close a stage with what came of it."""
        stage.seconds = (self._clock.monotonic_us() - stage.started_us) / 1e6
        stage.outcome = outcome
        if not self.console.is_terminal:
            line = f"{stage.seconds:6.1f} s  {stage.title}  {outcome}".rstrip()
            self.console.print(line, soft_wrap=True)
