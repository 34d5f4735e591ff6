"""The console's look, in one style sheet, and its few building blocks.

Laws:
- foreign text (names, reasons) only ever goes through `Text`, which the browser shows as text;
- an element is told of a change only where there is one, so that a page at rest costs nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

MARK = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" aria-hidden="true">'
    '<path d="M5 3v26" stroke="{wall}" stroke-width="4" stroke-linecap="round"/>'
    '<path d="M10 16h2m4 0h2" stroke="{wall}" stroke-width="2" stroke-linecap="round"/>'
    '<rect x="21" y="8" width="9" height="16" rx="3" fill="{car}"/></svg>'
)
"""A wall, a distance and the rear of a car."""

FAVICON = MARK.format(wall="#7b8794", car="#0e8c87")


_SCHEME = """
(() => {
  const root = document.documentElement;
  const kept = () => localStorage.getItem("parkfleet-scheme") ?? "";
  root.dataset.scheme = kept();
  addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-scheme-next]")) return;
    const isDark = getComputedStyle(document.body).colorScheme === "dark" ||
      (kept() === "" && matchMedia("(prefers-color-scheme: dark)").matches);
    localStorage.setItem("parkfleet-scheme", isDark ? "light" : "dark");
    root.dataset.scheme = kept();
  });
})();
"""


class Text(TextElement):
    """An element of any tag that holds plain text."""

    def __init__(self, tag: str, text: str = "", classes: str = "") -> None:
        """Create `<tag class="classes">text</tag>`."""
        super().__init__(tag=tag, text=text)
        self.classes(classes)

    def say(self, text: str) -> None:
        """Show `text` instead; nothing is sent where it is the same."""
        if text != self.text:
            self.set_text(text)


def put(element: ui.element, name: str, value: object) -> None:
    """Set an attribute of `element`; nothing is sent where it is the same. None removes it."""
    if element.props.get(name) == value:
        return
    if value is None:
        element.props.pop(name, None)
    else:
        element.props[name] = value


def show(element: ui.element, visible: bool) -> None:
    """Show or hide `element`, for screen readers too."""
    put(element, "hidden", None if visible else True)


def dress() -> None:
    """Give the page its style sheet, and the scheme that its reader chose."""
    ui.add_head_html(f"<script>{_SCHEME}</script>")
    ui.add_css(Path(__file__).with_name("theme.css").read_text(encoding="utf-8"))


@contextmanager
def part(heading: str, gloss: str) -> Iterator[None]:
    """Open a section of the page with its heading and one sentence on what it shows."""
    with ui.element("section").classes("part") as section:
        put(section, "aria-label", heading)
        Text("h2", heading)
        Text("p", gloss, "gloss")
        yield


def empty(sentence: str, command: str = "") -> ui.element:
    """Return a box that tells a newcomer the next step."""
    with ui.element("div").classes("empty") as box:
        Text("p", sentence)
        if command:
            Text("pre", command)
    return box
