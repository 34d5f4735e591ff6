"""Charts as ECharts options: plain data, no drawing.

Laws:
- colours are variables of the page's style sheet, so that one chart fits light and dark;
- lines differ by symbol as well as by colour;
- every axis has a name, and a unit where it has one.
"""

from collections.abc import Sequence
from typing import Any

from fleet_server.console.board import Board, Line, Mark

_SYMBOLS = ("circle", "triangle", "rect", "diamond")
_INK, _SOFT, _RULE = "var(--ink)", "var(--soft)", "var(--rule)"
_SECOND_ROW = 22  # px: trainings stand above versions, so that the two never overlap
_FONT = {"fontFamily": "inherit", "fontSize": 12, "color": _SOFT}


def error_chart(board: Board) -> dict[str, Any]:
    """Return the options of the chart of errors: one point a manoeuvre and car."""
    return {
        "animation": False,
        "textStyle": _FONT,
        "grid": {"left": 52, "right": 16, "top": 78, "bottom": 48},
        "legend": {
            "type": "scroll",
            "left": 0,
            "top": 0,
            "itemGap": 18,
            "itemWidth": 18,
            "inactiveColor": _RULE,
            "pageTextStyle": _FONT,
            "textStyle": {**_FONT, "color": _INK},
        },
        "tooltip": {
            "trigger": "item",
            "backgroundColor": "var(--paper)",
            "borderColor": _RULE,
            "textStyle": {**_FONT, "color": _INK},
        },
        "xAxis": {
            **_axis("manoeuvre of each car"),
            "min": 1,
            "minInterval": 1,
            "nameGap": 30,
            "splitLine": {"show": False},
            "axisLine": {"show": True, "lineStyle": {"color": _RULE}},
        },
        "yAxis": {**_axis(f"mean error ({board.unit})"), "min": 0, "nameGap": 36},
        "series": [_marks(board.marks), *(_series(line) for line in board.lines)],
    }


def _axis(name: str) -> dict[str, Any]:
    return {
        "type": "value",
        "name": name,
        "nameLocation": "middle",
        "nameTextStyle": _FONT,
        "axisLabel": _FONT,
        "axisTick": {"show": False},
        "splitLine": {"lineStyle": {"color": _RULE}},
    }


def _series(line: Line) -> dict[str, Any]:
    colour = f"var(--car-{line.colour})"
    return {
        "type": "line",
        "name": line.name,
        "symbol": _SYMBOLS[line.colour % len(_SYMBOLS)],
        "symbolSize": 8,
        "color": colour,
        "lineStyle": {"color": colour, "width": 1.5, "opacity": 0.55},
        "itemStyle": {"color": colour},
        "emphasis": {"disabled": True},
        "data": [
            {
                "name": f"manoeuvre {point.number} with {point.version}",
                "value": [point.number, round(point.error, 1)],
            }
            for point in line.points
        ],
    }


def _marks(marks: Sequence[Mark]) -> dict[str, Any]:
    """Return a series without points that carries the vertical marks, whoever is hidden."""
    return {
        "type": "line",
        "data": [],
        "silent": True,
        "markLine": {
            "silent": True,
            "symbol": "none",
            "animation": False,
            "data": [_mark(mark) for mark in marks],
        },
    }


def _mark(mark: Mark) -> dict[str, Any]:
    label = {
        **_FONT,
        "formatter": mark.text,
        "color": _INK if mark.is_version else _SOFT,
        "opacity": 1,
    }
    label |= {"position": "end", "distance": 4 if mark.is_version else _SECOND_ROW}
    if mark.is_version:
        label["fontWeight"] = 600
    if mark.number <= 1:
        # To the right of its line: to the left is the axis.
        label["align"] = "left"
    return {
        "xAxis": mark.number,
        "label": label,
        "lineStyle": {
            "color": _SOFT,
            "width": 1,
            "type": "solid" if mark.is_version else "dotted",
            "opacity": 0.7,
        },
    }
