"""The one element that the console draws with: it shows a tree of `nodes`, and hears its forms.

Laws:
- a tree is sent only where it differs from the one before, so that a page at rest costs nothing;
- what a form sends is a stranger's word: a name of an act, a key and some texts, each of bounded
  length, and nothing else is handed on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nicegui import events, ui

from fleet_server.console.nodes import Node, node

MOST_FIELDS = 24
MOST_LETTERS = 2000


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A form that was sent: which act, on what, and what its fields hold."""

    act: str
    key: str
    values: dict[str, str]


def sent(said: object) -> Sent | None:
    """Return what the browser said as a form that was sent, or None where it is none."""
    if not isinstance(said, dict):
        return None
    act, key, values = said.get("act"), said.get("key", ""), said.get("values")
    if not isinstance(act, str) or not isinstance(key, str) or not isinstance(values, dict):
        return None
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    whole = (act, key, *texts, *texts.values())
    if len(texts) != len(values) or len(texts) > MOST_FIELDS:
        return None
    if any(len(each) > MOST_LETTERS for each in whole):
        return None
    return Sent(act=act, key=key, values=texts)


class Sheet(ui.element, component="sheet.js"):
    """Shows a tree."""

    def __init__(self, on_sent: Callable[[Sent], Awaitable[None]] | None = None) -> None:
        """Show nothing yet; `on_sent` is told of each form."""
        super().__init__()
        self._tree: Node = node("div")
        self._props["tree"] = self._tree
        if on_sent is not None:
            self._heard = on_sent
            self.on("act", self._on_act)

    def show(self, tree: Node) -> None:
        """Show `tree` instead; nothing is sent where it is the same."""
        if tree != self._tree:
            self._tree = tree
            self._props["tree"] = tree
            self.update()

    async def _on_act(self, event: events.GenericEventArguments) -> None:
        said: Any = event.args
        form = sent(said)
        if form is not None:
            await self._heard(form)
