"""What the first page says, from one look at the fleet: pure, so that it can be tested as text.

Laws:
- nothing is claimed that was not reported: what is not known is a dash, what is wanted is not what
  is loaded;
- order along the chart is the order of boots and manoeuvres of each car, never its clock, which may
  be wrong;
- colour never stands alone: every state is also a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet_server.console import figures, words
from fleet_server.console.figures import Figure
from fleet_server.console.reader import Fleet
from fleet_server.reading.views import DecisionView, DeviceView, ManoeuvreView

COLOURS = 8
"""How many cars can be told apart by colour; the next ones begin again."""

_TRAININGS = {"train-first": "first training", "retrain": "retraining"}
_KINDS = {**_TRAININGS, "promote": "new version"}
_DEFAULT_UNIT = "mm"


@dataclass(frozen=True, kw_only=True)
class CarRow:
    """One line of the table of cars."""

    name: str
    colour: int
    is_online: bool
    presence: str
    deployment: str
    model: str
    model_note: str
    error: str
    error_note: str
    queue: str
    seen: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """A manoeuvre on the chart: the `number`-th of its car, with its mean error."""

    number: int
    error: float
    version: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One car on the chart."""

    name: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line: a version that was driven for the first time, or a training decided on."""

    number: int
    text: str
    is_version: bool


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """One line of the log of decisions."""

    id: int
    utc_us: int
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """The whole first page."""

    figures: tuple[Figure, ...]
    cars: tuple[CarRow, ...]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    unit: str
    log: tuple[LogRow, ...]
    chart_summary: str


@dataclass(frozen=True, kw_only=True)
class _Numbered:
    """A manoeuvre with its place in its car's order, counted from 1."""

    number: int
    view: ManoeuvreView


def compose(fleet: Fleet, now_utc_us: int) -> Board:
    """Return the page for one look at the fleet."""
    unit = _unit(fleet)
    numbered = _numbered(fleet.manoeuvres)
    last = {each.view.device: each.view for each in numbered if each.view.mae is not None}
    cars = tuple(
        car_row(device, place % COLOURS, last.get(device.device), unit, now_utc_us)
        for place, device in enumerate(fleet.devices)
    )
    lines = tuple(_line(car.name, car.colour, numbered) for car in cars)
    return Board(
        figures=figures.of(fleet, last, unit),
        cars=cars,
        lines=lines,
        marks=_version_marks(numbered) + _training_marks(fleet.decisions, numbered),
        unit=unit,
        log=tuple(_log_row(each) for each in reversed(fleet.decisions)),
        chart_summary=_summary(cars),
    )


def _unit(fleet: Fleet) -> str:
    units = [str(each.task.get("unit", _DEFAULT_UNIT)) for each in fleet.deployments]
    return units[0] if units else _DEFAULT_UNIT


def _numbered(manoeuvres: Sequence[ManoeuvreView]) -> list[_Numbered]:
    """Return the manoeuvres in each car's own order."""
    counts: dict[str, int] = {}
    found = []
    for view in sorted(manoeuvres, key=lambda each: (each.device, each.boot, each.manoeuvre)):
        counts[view.device] = counts.get(view.device, 0) + 1
        found.append(_Numbered(number=counts[view.device], view=view))
    return found


def car_row(
    device: DeviceView, colour: int, last: ManoeuvreView | None, unit: str, now_utc_us: int
) -> CarRow:
    """Return the line of one car, whose last manoeuvre with an error is `last`."""
    model_note = ""
    if device.loaded is None:
        model_note = "parks by its sensor"
    if device.desired_version is not None and device.desired_version != device.loaded_version:
        model_note = f"v{device.desired_version} is to come"
    error_note = ""
    if last is not None:
        by = words.version(last.model_version, last.model)
        error_note = f"with {by}" + ("" if last.reason == "target" else f", ended: {last.reason}")
    return CarRow(
        name=device.device,
        colour=colour,
        is_online=device.online,
        presence=_presence(device),
        deployment=device.deployment,
        model=words.version(device.loaded_version, device.loaded),
        model_note=model_note,
        error=words.length(last.mae if last else None, unit),
        error_note=error_note,
        queue=words.count(device.queue_depth),
        seen=words.ago(device.last_seen_utc_us, now_utc_us),
    )


def _presence(device: DeviceView) -> str:
    if device.state != "confirmed":
        return device.state
    if not device.online:
        return "away"
    return "silent" if device.presence == "silent" else "online"


def _line(name: str, colour: int, numbered: Sequence[_Numbered]) -> Line:
    points = tuple(
        Point(
            number=each.number,
            error=each.view.mae,
            version=words.version(each.view.model_version, each.view.model),
        )
        for each in numbered
        if each.view.device == name and each.view.mae is not None
    )
    return Line(name=name, colour=colour, points=points)


def _version_marks(numbered: Sequence[_Numbered]) -> tuple[Mark, ...]:
    """Return where each version was first driven by any car, in the order heard of."""
    first: dict[tuple[str, int], int] = {}
    for each in sorted(numbered, key=lambda one: one.view.id):
        if each.view.model_version is not None:
            first.setdefault((each.view.deployment, each.view.model_version), each.number)
    several = len({deployment for deployment, _ in first}) > 1
    return tuple(
        Mark(
            number=at, text=f"v{number} {deployment}" if several else f"v{number}", is_version=True
        )
        for (deployment, number), at in first.items()
    )


def _training_marks(
    decisions: Sequence[DecisionView], numbered: Sequence[_Numbered]
) -> tuple[Mark, ...]:
    """Return how far the cars had come when a training was decided on."""
    marks = []
    for decision in decisions:
        if decision.kind in _TRAININGS:
            heard = [
                each.number
                for each in numbered
                if each.view.deployment == decision.deployment
                and each.view.received_utc_us <= decision.utc_us
            ]
            if heard:
                text = _TRAININGS[decision.kind]
                marks.append(Mark(number=max(heard), text=text, is_version=False))
    return tuple(marks)


def _log_row(decision: DecisionView) -> LogRow:
    return LogRow(
        id=decision.id,
        utc_us=decision.utc_us,
        kind=_KINDS.get(decision.kind, decision.kind),
        text=decision.reason,
    )


def _summary(cars: Sequence[CarRow]) -> str:
    known = [f"{car.name} {car.error} {car.error_note}" for car in cars if car.error_note]
    return f"Last manoeuvres: {'; '.join(known)}." if known else ""
