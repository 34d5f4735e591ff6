"""How a cost grows with size: curves, and the exponent that fits them.

Laws:
- a curve y = c * x^k has exponent k, in whatever units x and y are: 0 is "does not grow", 1 is
  "grows in step", 2 is "twice the size, four times the cost";
- a fit says how far its worst point is off it, so that nobody trusts an exponent of no line.

The fit is ordinary least squares on the logarithms: log y = k log x + log c.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from matplotlib.axes import Axes

_OURS: Final = "#0a7d8c"
_BOUND: Final = "#8a8a8a"
_LINE: Final = "#b3387b"
_LEAST_SPAN: Final = 4.0

Points = tuple[tuple[float, float], ...]


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """y = factor * x^exponent; the worst point lies by the factor `off` above or below that."""

    exponent: float
    factor: float
    off: float

    def at(self, x: float) -> float:
        """Return the line's y."""
        return float(self.factor * x**self.exponent)


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A cost over a size, beside that of a bare bound where there is one."""

    name: str
    x: str
    y: str
    points: Points
    bound_name: str = ""
    bound: Points = ()

    @property
    def fit(self) -> Fit:
        """The line through all points."""
        return fitted(self.points)

    def as_dict(self) -> dict[str, object]:
        """Return the curve as it stands in report.json, its fit beside it."""
        fit = msgspec.structs.asdict(self.fit)
        return {**msgspec.structs.asdict(self), "fit": fit}


def fitted(points: Sequence[tuple[float, float]]) -> Fit:
    """Return the line that fits `points` on logarithmic axes.

    Raises:
        ValueError: there are fewer than two sizes, or something is not above zero.
    """
    if len({x for x, _ in points}) < 2:
        raise ValueError("an exponent needs two sizes")
    if min(min(point) for point in points) <= 0.0:
        raise ValueError("sizes and costs are above zero")
    logs = np.log(np.asarray(points, dtype=np.float64))
    x, y = logs[:, 0] - logs[:, 0].mean(), logs[:, 1]
    exponent = float(x @ y / (x @ x))
    level = float(y.mean() - exponent * logs[:, 0].mean())
    off = np.abs(y - exponent * logs[:, 0] - level).max()
    with np.errstate(over="ignore"):
        factor, worst = np.exp([level, off])
    return Fit(exponent=exponent, factor=float(factor), off=float(worst))


def draw(axes: Axes, curve: Curve) -> None:
    """Draw `curve` on logarithmic axes: points, the fitted line with its exponent, the bound."""
    sizes = [x for x, _ in curve.points]
    fit = curve.fit
    axes.loglog(*zip(*curve.points, strict=True), "o", color=_OURS, markersize=5, label="measured")
    ends = (min(sizes), max(sizes))
    line = f"exponent {fit.exponent:.2f}"
    axes.loglog(ends, [fit.at(x) for x in ends], "--", color=_LINE, linewidth=1, label=line)
    if curve.bound:
        name = curve.bound_name or "bare bound"
        axes.loglog(*zip(*curve.bound, strict=True), "s-", color=_BOUND, markersize=4, label=name)
    low, high = axes.get_ylim()
    if high / low < _LEAST_SPAN:
        # What does not grow is to look level, whatever its last digits do.
        middle = math.sqrt(low * high)
        axes.set_ylim(middle / _LEAST_SPAN, middle * _LEAST_SPAN)
    axes.set_title(curve.name, fontsize=8)
    axes.set_xlabel(curve.x, fontsize=8)
    axes.set_ylabel(curve.y, fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    axes.legend(fontsize=7, framealpha=0.6)
