"""The blocks that pages are made of: sections, tables, facts; pure, as `nodes`.

Laws:
- a table has a caption and its columns' names, on a phone beside each value;
- colour never stands alone: every state is also a word;
- an empty place says what would be there and what to do for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from fleet_server.console import words
from fleet_server.console.nodes import Child, Node, moment, node

_DEEPEST, _LONGEST, _WIDEST = 4, 60, 400


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: its name, whether it holds numbers, and where a click on its name leads."""

    name: str
    is_number: bool = False
    href: str = ""
    order: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table; `key` tells it from the others."""

    key: str
    cells: tuple[Child, ...]


def section(heading: str, gloss: str, *children: Child, key: str = "") -> Node:
    """Return a part of a page with its heading and one sentence on what it shows."""
    return node(
        "section",
        node("h2", heading),
        node("p", gloss, cls="gloss") if gloss else None,
        *children,
        cls="part",
        key=key or heading,
        aria_label=heading,
    )


def table(caption: str, columns: Sequence[Column], rows: Sequence[Row], *, cls: str = "") -> Node:
    """Return a table whose first column names the line."""
    names = [column.name for column in columns]
    body = [
        node(
            "tr",
            *(
                _cell(column, cell, is_first=place == 0)
                for place, (column, cell) in enumerate(zip(columns, row.cells, strict=True))
            ),
            key=row.key,
        )
        for row in rows
    ]
    head = node("tr", *(_head(column, name) for column, name in zip(columns, names, strict=True)))
    return node(
        "table",
        node("caption", caption, cls="unseen"),
        node("thead", head),
        node("tbody", *body),
        cls=f"list {cls}".strip(),
    )


def _head(column: Column, name: str) -> Node:
    held: Child = node("a", name, href=column.href) if column.href else name
    return node(
        "th",
        held,
        scope="col",
        cls="number" if column.is_number else "",
        aria_sort=column.order or None,
    )


def _cell(column: Column, cell: Child, *, is_first: bool) -> Node:
    cls = "number" if column.is_number else ""
    if is_first:
        return node("th", cell, scope="row", cls=cls)
    return node("td", cell, data_name=column.name, cls=cls)


def stacked(text: Child, note: Child) -> Node:
    """Return a value with a note under it."""
    return node("span", text, node("small", note) if note else None)


def tag(text: str, tone: str = "") -> Node:
    """Return a short state; `tone` is good, bad, busy or none."""
    return node("span", text, cls=f"tag {tone}".strip())


def link(text: str, *path: str, **query: str) -> Node:
    """Return a link to a page of the console."""
    return node("a", text, href=address(*path, **query))


def address(*path: str, **query: str) -> str:
    """Return where a page of the console is, foreign text in it made harmless."""
    plain = "/" + "/".join(quote(each, safe="") for each in path)
    asked = {name: value for name, value in query.items() if value}
    return f"{plain}?{urlencode(asked)}" if asked else plain


def empty(sentence: str, command: str = "") -> Node:
    """Return a box that tells a newcomer the next step."""
    return node(
        "div",
        node("p", sentence),
        node("pre", command, tabindex=0) if command else None,
        cls="empty",
        key="empty",
    )


def facts(pairs: Iterable[tuple[str, Child]]) -> Node:
    """Return names with their values."""
    made = [node("div", node("dt", name), node("dd", value), key=name) for name, value in pairs]
    return node("dl", *made, cls="facts")


def figures(label: str, held: Iterable[tuple[str, str, str, float | None]]) -> Node:
    """Return large numbers: label, value, note, and a share from 0 to 1 that fills a bar."""
    made = [
        node(
            "div",
            node("dt", name),
            node("dd", value, cls="value"),
            node("dd", meter(share, name)) if share is not None else None,
            node("dd", note, cls="note"),
            cls="figure",
            key=name,
        )
        for name, value, note, share in held
    ]
    return node("dl", *made, cls="figures", aria_label=label)


def meter(share: float, label: str) -> Node:
    """Return a bar filled from 0 to 1."""
    return node("progress", max=1, value=round(share, 3), aria_label=label)


def presence(state: str) -> Node:
    """Return whether a car is there, as a word with a dot."""
    return node("span", state, cls=f"presence {'online' if state == 'online' else 'away'}")


def log(rows: Iterable[tuple[str, int, str, Child]]) -> Node:
    """Return entries: key, UTC microseconds, what, and why."""
    made = [
        node(
            "li",
            moment(utc_us, is_short=True),
            node("span", kind, cls="kind"),
            node("span", text, cls="why"),
            key=key,
        )
        for key, utc_us, kind, text in rows
    ]
    return node("ol", *made, cls="log")


def pager(path: Sequence[str], query: Mapping[str, str], *, page: int, pages: int, of: str) -> Node:
    """Return the way to the pages before and after, and where one is."""

    def step(text: str, number: int) -> Node:
        if not 1 <= number <= pages:
            return node("span", text, aria_disabled="true", cls="off")
        return node("a", text, href=address(*path, **{**query, "page": str(number)}))

    where = node("span", f"page {page} of {pages}, {of}")
    return node(
        "nav", step("Previous", page - 1), where, step("Next", page + 1), cls="pager",
        aria_label="Pages of this list", key="pager",
    )  # fmt: skip


def picture(device: str, boot: str, sequence: int, text: str) -> Node:
    """Return a stored picture; `text` says what it shows to who cannot see it."""
    path = quote(f"samples/{device}/{boot}/{sequence}/picture")
    return node("img", src=f"/view/{path}", alt=text, loading="lazy", width=100, height=75)


def shown(value: object) -> str:
    """Return a value of some evidence as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(each) for each in value)
    return words.UNKNOWN if value is None else str(value)


def evidence(held: Mapping[str, object]) -> Node | None:
    """Return the numbers that something rests on; None where there are none."""
    if not held:
        return None
    return facts((name.replace("_", " "), shown(value)) for name, value in held.items())


def document(value: object, *, depth: int = 0) -> Node:
    """Return any JSON value as facts and tables, as deep as `_DEEPEST`."""
    if isinstance(value, dict) and depth < _DEEPEST:
        plain = {name: each for name, each in value.items() if not isinstance(each, dict | list)}
        deep = {name: each for name, each in value.items() if isinstance(each, dict | list)}
        return node(
            "div",
            evidence(plain),
            *(
                node("div", node("h4", name.replace("_", " ")), document(each, depth=depth + 1))
                for name, each in deep.items()
            ),
        )
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return _records(value[:_LONGEST])
    return node("p", shown(value)[:_WIDEST])


def _records(values: Sequence[Mapping[str, object]]) -> Node:
    names = list(dict.fromkeys(name for each in values for name in each))
    columns = [Column(name=name.replace("_", " ")) for name in names]
    rows = [
        Row(key=str(place), cells=tuple(shown(each.get(name, ""))[:_WIDEST] for name in names))
        for place, each in enumerate(values)
    ]
    return table("Records", columns, rows, cls="dense")
