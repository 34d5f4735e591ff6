"""Pictures side by side, each with its label, estimate and residual.

Laws:
- each leads to its pair;
- what is not here, a picture or an estimate, is said or left out, never made up.
"""

from collections.abc import Sequence

from fleet_server.console import parts, words
from fleet_server.console.nodes import Node, node
from fleet_server.reading.views import SampleView


def contact_sheet(pairs: Sequence[SampleView], unit: str) -> Node:
    """Return pictures with label, estimate and residual, each leading to its pair."""
    return node("ul", *(_print(each, unit) for each in pairs), cls="contact")


def _print(pair: SampleView, unit: str) -> Node:
    estimate = pair.estimate
    residual = None
    if estimate is not None and pair.label is not None:
        residual = f"off by {estimate - pair.label:+.1f}"
    shown = f"{pair.device}, manoeuvre {pair.manoeuvre}, at {words.length(pair.label, unit)}"
    seen = (
        parts.picture(pair.device, pair.boot, pair.sequence, shown)
        if pair.has_picture
        else node("span", "no picture", cls="blank")
    )
    caption = node(
        "span",
        node("span", words.length(pair.label, unit)),
        node("small", f"estimated {words.length(estimate, unit)}")
        if estimate is not None
        else None,
        node("small", residual) if residual else None,
    )
    href = parts.address("samples", pair.device, pair.boot, str(pair.sequence))
    return node("li", node("a", seen, caption, href=href), key=str(pair.id))
