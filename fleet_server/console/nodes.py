"""What a page shows, as plain data: a tree of elements and texts, drawn by `sheet` in the browser.

Laws:
- a tree is made by pure functions, so that a page can be tested as text;
- a text stays a text: the browser is never handed markup, whatever a name or a reason holds;
- a moment is UTC microseconds; the reader's browser says it in the reader's own zone;
- `key` tells one child from its neighbours, so that what is open or half written stays so when rows
  come and go.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from fleet_server.console import words

Node: TypeAlias = dict[str, Any]
Child: TypeAlias = Node | str | None


def node(tag: str, *children: Child, cls: str = "", key: str = "", **attributes: object) -> Node:
    """Return an element; None as a child or an attribute is left out.

    A `_` in an attribute's name becomes a hyphen: `aria_label`.
    """
    made: Node = {"t": tag}
    if cls:
        made["c"] = cls
    if key:
        made["y"] = key
    given = {
        name.strip("_").replace("_", "-"): value
        for name, value in attributes.items()
        if value is not None and value is not False
    }
    if given:
        made["a"] = {name: "" if value is True else value for name, value in given.items()}
    held = [each for each in children if each is not None]
    if held:
        made["k"] = held
    return made


def moment(utc_us: int | None, *, is_short: bool = False) -> Node:
    """Return a moment, which the browser says in the reader's zone; without a script it is UTC."""
    if utc_us is None:
        return node("span", words.UNKNOWN)
    made = node("time", words.date_time(utc_us), datetime=words.iso_time(utc_us))
    return made | {"at": utc_us // 1000, "short": is_short}


def texts(tree: Child) -> Iterator[str]:
    """Yield the texts of a tree, in the order in which they are read."""
    if isinstance(tree, str):
        yield tree
    elif tree is not None:
        for child in tree.get("k", ()):
            yield from texts(child)


def said(tree: Child) -> str:
    """Return all that a tree says."""
    return " ".join(each.strip() for each in texts(tree) if each.strip())


def found(tree: Child, tag: str = "", cls: str = "") -> Iterator[Node]:
    """Yield the elements of `tree` with that tag and class."""
    if not isinstance(tree, dict):
        return
    if (not tag or tree["t"] == tag) and (not cls or cls in tree.get("c", "").split()):
        yield tree
    for child in tree.get("k", ()):
        yield from found(child, tag, cls)
