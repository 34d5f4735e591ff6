"""Small plots as drawings in the page: a spark, a histogram, curves, and their legend; pure.

Laws:
- a plot has a text that says what it shows;
- series are told apart by place in the legend and by colour, never by colour alone.
"""

from collections.abc import Sequence

from fleet_server.console.nodes import Node, node

_PLOT_WIDTH, _PLOT_HEIGHT = 320, 150
_LEFT, _BOTTOM, _TOP = 44, 22, 8


def spark(values: Sequence[float], text: str) -> Node:
    """Return a small line of the last `values`, the newest on the right; `text` says it."""
    if len(values) < 2:
        return node("span")
    top = max(*values, 1e-9)
    step = 72 / (len(values) - 1)
    points = " ".join(
        f"{2 + place * step:.1f},{18 - 15 * value / top:.1f}" for place, value in enumerate(values)
    )
    return node(
        "svg",
        node("polyline", points=points, cls="line"),
        viewBox="0 0 76 20",
        cls="spark",
        role="img",
        aria_label=text,
    )


def histogram(label: str, series: Sequence[tuple[str, Sequence[float]]], *, bins: int = 16) -> Node:
    """Return histograms of one or two sets of values over the same bins, as shares of each set."""
    low = min((min(values) for _, values in series if values), default=0.0)
    high = max((max(values) for _, values in series if values), default=1.0)
    width = (high - low) / bins or 1.0
    shares = [_shares(values, low, width, bins) for _, values in series]
    top = max((max(each) for each in shares), default=0.0) or 1.0
    bars = [
        _bar(place, index, share / top, bins)
        for index, each in enumerate(shares)
        for place, share in enumerate(each)
        if share
    ]
    names = ", ".join(f"{name} ({len(values)})" for name, values in series)
    frame = _frame(f"{low:.4g}", f"{high:.4g}", "0", f"{top:.0%}")
    return _figure(label, f"{label}: {names}, from {low:.4g} to {high:.4g}", [*frame, *bars])


def _shares(values: Sequence[float], low: float, width: float, bins: int) -> list[float]:
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1)] += 1
    return [count / len(values) if values else 0.0 for count in counts]


def _bar(place: int, index: int, share: float, bins: int) -> Node:
    step = (_PLOT_WIDTH - _LEFT) / bins
    height = share * (_PLOT_HEIGHT - _TOP - _BOTTOM)
    return node(
        "rect",
        x=round(_LEFT + place * step + (1 if index == 0 else step / 2), 1),
        y=round(_PLOT_HEIGHT - _BOTTOM - height, 1),
        width=round(step / 2 - 1, 1),
        height=round(height, 1),
        cls=f"bar series-{index}",
    )


def curves(
    label: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    level: float | None = None,
) -> Node:
    """Return lines of (x, y) points; `level` is a value that counts, drawn across."""
    points = [point for _, held in series for point in held]
    ys = [y for _, y in points] + ([level] if level is not None else [])
    left, right = min((x for x, _ in points), default=0), max((x for x, _ in points), default=1)
    top = max(*ys, 1e-9) if ys else 1.0
    low = min(0.0, *ys) if ys else 0.0

    def at(x: float, y: float) -> str:
        across = (x - left) / ((right - left) or 1) * (_PLOT_WIDTH - _LEFT - 6)
        up = (y - low) / ((top - low) or 1) * (_PLOT_HEIGHT - _TOP - _BOTTOM)
        return f"{_LEFT + across:.1f},{_PLOT_HEIGHT - _BOTTOM - up:.1f}"

    lines = [
        node("polyline", points=" ".join(at(x, y) for x, y in held), cls=f"line series-{index}")
        for index, (_, held) in enumerate(series)
    ]
    limit = None
    if level is not None:
        limit = node("polyline", points=f"{at(left, level)} {at(right, level)}", cls="level")
    names = "; ".join(f"{name} last {held[-1][1]:.4g}" for name, held in series if held)
    frame = _frame(f"{left:.4g}", f"{right:.4g}", f"{low:.3g}", f"{top:.3g}")
    return _figure(label, f"{label}: {names}", [*frame, *([limit] if limit else []), *lines])


def _frame(left: str, right: str, low: str, high: str) -> list[Node]:
    floor = _PLOT_HEIGHT - _BOTTOM
    return [
        node(
            "polyline", points=f"{_LEFT},{_TOP} {_LEFT},{floor} {_PLOT_WIDTH},{floor}", cls="axis"
        ),
        node("text", left, x=_LEFT, y=_PLOT_HEIGHT - 6),
        node("text", right, x=_PLOT_WIDTH, y=_PLOT_HEIGHT - 6, text_anchor="end"),
        node("text", low, x=_LEFT - 5, y=floor, text_anchor="end"),
        node("text", high, x=_LEFT - 5, y=_TOP + 8, text_anchor="end"),
    ]


def _figure(label: str, text: str, drawn: Sequence[Node]) -> Node:
    svg = node(
        "svg",
        *drawn,
        viewBox=f"0 0 {_PLOT_WIDTH} {_PLOT_HEIGHT}",
        cls="plot",
        role="img",
        aria_label=text,
    )
    return node("figure", node("figcaption", label), svg, key=label)


def legend(names: Sequence[str]) -> Node:
    """Return which series of the plots around is which."""
    made = [
        node("li", node("span", cls=f"swatch series-{index}", aria_hidden="true"), name)
        for index, name in enumerate(names)
    ]
    return node("ul", *made, cls="legend")
