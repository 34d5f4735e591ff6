"""A plot in characters: measured and estimated distance over the last seconds, speed, state.

Laws:
- shape tells the lines apart, never colour alone: `x` estimate, `-` measured, `*` where they meet;
- error and speed are bars from nothing up to the most in the span, which stands before them;
- a column is a span of time, the newest at the right edge; what was not said leaves it empty, as
  does what no car measures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet_server.terminal.trace import Point, Trace

ESTIMATE, MEASURED, BOTH = "x", "-", "*"

_AXIS = 7
_LARGEST = 99_999.0
"""Of any length and speed: a hundred metres, in mm."""

_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Lines of one width: `distance` from the top down, then one mark a column."""

    distance: tuple[str, ...]
    error: str
    speed: str
    state: str
    times: str


def draw(trace: Trace, *, now_us: int, span_us: int, width: int, height: int) -> Plot:
    """Return `trace` over the last `span_us`, `width` characters wide, distance `height` lines."""
    columns = max(width - _AXIS - 1, 1)
    by_column = _sorted_into(trace, now_us=now_us, span_us=span_us, columns=columns)
    estimates = _means(by_column, lambda point: point.estimate)
    labels = _means(by_column, lambda point: point.label)
    low, high = _range([each for each in (*estimates, *labels) if each is not None])
    rows = [[" "] * columns for _ in range(height)]
    for marks, mark in ((labels, MEASURED), (estimates, ESTIMATE)):
        for column, value in enumerate(marks):
            if value is not None:
                _put(rows[_row(value, low, high, height)], column, mark)
    scale = [f"{high:{_AXIS}.0f}", *[" " * _AXIS] * (height - 2), f"{low:{_AXIS}.0f}"][:height]
    return Plot(
        distance=tuple(f"{at}|{''.join(row)}" for at, row in zip(scale, rows, strict=True)),
        error=_bars("err", _means(by_column, _error)),
        speed=_bars("spd", _means(by_column, lambda point: abs(point.speed_mm_s))),
        state=f"{'state':>{_AXIS}}|{_states(by_column)}",
        times=_times(span_us, columns),
    )


def _sorted_into(trace: Trace, *, now_us: int, span_us: int, columns: int) -> list[list[Point]]:
    found: list[list[Point]] = [[] for _ in range(columns)]
    for point in trace.since(now_us - span_us):
        age_us = max(now_us - point.at_us, 0)
        column = columns - 1 - age_us * columns // (span_us + 1)
        found[column].append(point)
    return found


def _means(
    by_column: Sequence[Sequence[Point]], read: Callable[[Point], float | None]
) -> list[float | None]:
    means: list[float | None] = []
    for points in by_column:
        said = (read(point) for point in points)
        values = [each for each in said if each is not None and abs(each) <= _LARGEST]
        means.append(sum(values) / len(values) if values else None)
    return means


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the scale, in tens, never the same."""
    low = min(values, default=0.0) // 10 * 10
    high = -(-max(values, default=0.0) // 10) * 10
    return low, high if high > low else low + 10.0


def _row(value: float, low: float, high: float, height: int) -> int:
    share = (high - value) / (high - low)
    return min(max(round(share * (height - 1)), 0), height - 1)


def _put(row: list[str], column: int, mark: str) -> None:
    row[column] = mark if row[column] in (" ", mark) else BOTH


def _error(point: Point) -> float | None:
    if point.estimate is None or point.label is None:
        return None
    return abs(point.estimate - point.label)


def _bars(name: str, values: Sequence[float | None]) -> str:
    top = max((each for each in values if each is not None), default=0.0)
    last = len(_BARS) - 1
    marks = (" " if each is None else _BARS[round(each / (top or 1.0) * last)] for each in values)
    return f"{name}{top:{_AXIS - len(name)}.0f}|{''.join(marks)}"


def _states(by_column: Sequence[Sequence[Point]]) -> str:
    return "".join(points[-1].state[:1] if points else " " for points in by_column)


def _times(span_us: int, columns: int) -> str:
    first, last = f"-{span_us // 1_000_000} s", "now"
    key = f"{ESTIMATE} estimate  {MEASURED} measured  {BOTH} both"
    room = max(columns - len(first) - len(last), 0)
    return f"{'mm':>{_AXIS}} {first}{key:^{room}}{last}"
