"""README's main table, written anew from what was measured: text in, text out.

Laws:
- only what stands between the two markers changes; a text without them is refused;
- a row changes where its target was measured in full: a quick look never reaches README;
- a row that was not measured this time stays as it was, word for word; the last line says what was
  measured when, so that no row claims more than it is.
"""

import re
from collections.abc import Sequence
from typing import Final

from shared.errors import UsageError
from tests.benchmarks.standing import Row, limited, said, share
from tests.benchmarks.targets import PARTS

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"
LIMITS_PNG: Final = "docs/images/bench-limits.png"
GROWTH_PNG: Final = "docs/images/bench-growth.png"

_HEAD: Final = "| on two cores | measured | limit | met | measured by |\n|---|---:|---:|---|---|"
_CELLS: Final = _HEAD.partition("\n")[0].count(" | ") + 1
_PLOTS: Final = (
    f"![How much of its limit each figure takes]({LIMITS_PNG})",
    f"![How costs grow with size, with the fitted exponents]({GROWTH_PNG})",
)


def rewritten(text: str, rows: Sequence[Row], source: str) -> str:
    """Return `text` with the table of `rows`, both plots and the line `source` between its markers.

    Raises:
        UsageError: the markers are missing, doubled, or in the wrong order.
    """
    before, old, after = _parted(text)
    kept = {_name(line): line for line in old.splitlines() if line.startswith("| ")}
    lines = []
    for number in PARTS:
        mine = [each for each in rows if each.part == number and each.in_readme]
        lines += [line for each in mine if (line := _line(each) or kept.get(each.name))]
    table = "\n".join([_HEAD, *lines])
    body = "\n\n".join([table, *_PLOTS, source])
    return f"{before}{BEGIN}\n{body}\n{END}{after}"


def shares(text: str) -> list[tuple[str, float]]:
    """Return name and share of its limit of each row of the table, those kept from before too.

    Raises:
        UsageError: the markers are missing, doubled, or in the wrong order.
    """
    found = []
    for line in _parted(text)[1].splitlines():
        cells = [each.strip() for each in line.strip("|").split(" | ")]
        if len(cells) == _CELLS and (value := _number(cells[1])) is not None:
            better = "higher" if cells[2].startswith("≥") else "lower"
            found.append((cells[0], share(value, _number(cells[2]), better)))
    return found


def _number(cell: str) -> float | None:
    match = re.search(r"-?[\d,]*\.?\d+(e[+-]?\d+)?", cell)
    return None if match is None else float(match[0].replace(",", ""))


def _parted(text: str) -> tuple[str, str, str]:
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(f"README needs one {BEGIN} and one {END} after it: put them back")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    return before, old, after


def _line(row: Row) -> str | None:
    """Return a measured row's line; None where there is nothing worth writing down."""
    if row.is_quick or row.word not in {"met", "missed"}:
        return None
    met = "yes" if row.word == "met" else "**no**"
    reached = said(row.value, row.unit)
    return f"| {row.name} | {reached} | {limited(row)} | {met} | {row.where} |"


def _name(line: str) -> str:
    return line.split(" | ", maxsplit=1)[0].removeprefix("| ")
