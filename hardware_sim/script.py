"""What a simulated person is told, and what is told back: two small files beside each other.

Laws:
- the order (the script) is written by the laboratory alone and read between two manoeuvres; the
  progress is written by the person alone, after each manoeuvre, in one rename;
- progress belongs to the `run` it names: a new run starts at nothing, the same run goes on where it
  was, even in another process;
- `truth.csv` holds what only a simulator can know: one row for each frame exposed while the person
  drove, `exposed_us,true_mm,run`; a line that a kill cut short is ended before the next one.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from shared import settings
from shared.errors import UsageError

Way = Literal["park", "park_by_sensor"]
PersonState = Literal["driving", "finished"]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_TRUTH_HEADER = "exposed_us,true_mm,run\n"


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order: so many manoeuvres in a scene, started `by` one button or the other.

    Where `retry_by_sensor` is set, a manoeuvre that did not park the car is followed by
    `sensor_turns` ones by the range sensor, or fewer where another model is loaded in between.
    """

    run: _Count
    scene: str
    manoeuvres: _Count
    by: Way = "park"
    retry_by_sensor: bool = True
    sensor_turns: _Count = 3


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an order is.

    `parked` counts manoeuvres that ended near the target, `contacts` touches of the wall, `refused`
    presses that the car did not answer.
    """

    run: int
    done: int = 0
    parked: int = 0
    contacts: int = 0
    refused: int = 0
    state: PersonState = "driving"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The true distance at the moment when a frame was exposed."""

    exposed_us: int
    true_mm: float


class Desk:
    """The script file and what lies beside it."""

    def __init__(
        self, script: Path, *, spared: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Look at the folder of `script`; write in `spared`, out of reach of the car's faults."""
        self._spared = spared
        self.script = script
        self._progress = script.with_name("progress.json")
        self._truth = script.with_name("truth.csv")

    def order(self) -> Script:
        """Return the present order.

        Raises:
            UsageError: the script is missing or wrong.
        """
        return settings.convert(settings.read_toml(self.script), Script, source=str(self.script))

    def progress(self, run: int) -> Progress:
        """Return how far `run` is; a record of another run, or a broken one, is none."""
        try:
            told = msgspec.json.decode(self._progress.read_bytes(), type=Progress)
        except (OSError, msgspec.MsgspecError):
            return Progress(run=run)
        return told if told.run == run else Progress(run=run)

    def tell(self, progress: Progress) -> None:
        """Write down how far the order is.

        Raises:
            UsageError: the folder cannot be written.
        """
        temporary = self._progress.with_suffix(".new")
        try:
            with self._spared():
                temporary.write_bytes(msgspec.json.encode(progress))
                temporary.replace(self._progress)
        except OSError as error:
            raise UsageError(f"cannot write {self._progress}: {error.strerror}") from None

    def add_truth(self, rows: Iterable[Truth], run: int) -> None:
        """Append what was true during a manoeuvre.

        Raises:
            UsageError: the file cannot be written.
        """
        text = "".join(f"{row.exposed_us},{row.true_mm:.3f},{run}\n" for row in rows)
        try:
            with self._spared(), self._truth.open("ab+") as file:
                end = file.seek(0, os.SEEK_END)
                if end == 0:
                    text = _TRUTH_HEADER + text
                else:
                    file.seek(end - 1)
                    text = text if file.read(1) == b"\n" else "\n" + text
                file.write(text.encode())
        except OSError as error:
            raise UsageError(f"cannot write {self._truth}: {error.strerror}") from None
