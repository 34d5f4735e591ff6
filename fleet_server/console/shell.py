"""What all pages share: head, navigation, who is signed in, and how a page lives.

Laws:
- a page is for who may look at this instant: each second, and at each act, its session's rights are
  asked for anew; where they are gone the page shows nothing any more and says so;
- an act is looked up in the page's own table and held to the role when it is sent, whatever was
  drawn; REST holds it to the role once more;
- where the database cannot be read the page says so, keeps what it showed, and tries again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from nicegui import ui

from fleet_server.console import words
from fleet_server.console.acts import Act, Outcome, Voice
from fleet_server.console.gate import visitor_of
from fleet_server.console.house import House
from fleet_server.console.nodes import Node, found, node, said
from fleet_server.console.parts import address
from fleet_server.console.sessions import Visitor
from fleet_server.console.sheet import Sent, Sheet
from fleet_server.console.theme import dress
from fleet_server.tokens import Bearer
from shared import __version__
from shared.errors import RefusedError, RetryLaterError

logger = logging.getLogger(__name__)

PLACES: tuple[tuple[str, str], ...] = (
    ("/", "Fleet"),
    ("/samples", "Samples"),
    ("/deployments", "Deployments"),
    ("/drift", "Drift"),
    ("/models", "Models"),
    ("/rollouts", "Rollouts"),
    ("/training", "Training"),
    ("/log", "Log book"),
    ("/system", "System"),
)
"""The pages of the navigation; a car's page is reached from the fleet's."""

_EVERY_S = 1.0

Look = Callable[[Voice], Awaitable[Node]]


def frame(place: str, who: Bearer, *, is_guest: bool, path: str) -> Node:
    """Return the head of every page; `place` is the path of the navigation's entry."""
    entries = [
        node("li", node("a", name, href=href, aria_current="page" if href == place else None))
        for href, name in PLACES
    ]
    account = (
        node("a", "Sign in", href=address("sign-in", next=path))
        if is_guest
        else node(
            "form",
            node("span", f"{who.name}, {who.role}"),
            node("button", "Sign out", type="submit", cls="quiet"),
            action="/sign-out",
            method="post",
        )
    )
    scheme = node("button", "Light or dark", type="button", cls="quiet", data_scheme_next="")
    return node(
        "header",
        node("a", "Skip to the page", href="#content", cls="skip"),
        node("a", node("span", cls="mark", aria_hidden="true"), "parkfleet", href="/", cls="brand"),
        node("nav", node("ul", *entries), aria_label="Pages"),
        node("div", account, scheme, cls="account"),
        cls="top",
    )


def foot() -> Node:
    """Return the end of every page."""
    return node(
        "footer",
        f"parkfleet {__version__}. ",
        node("a", "REST API", href="/docs"),
        cls="foot",
    )


def news(tree: Node, last: Outcome | None) -> Node:
    """Return what became of the last act, where `tree` does not say it: its form may be gone."""
    is_said = last is None or any(said(each) == last.text for each in found(tree, cls="told"))
    told = None
    if last is not None and not is_said:
        told = node("p", last.text, cls=f"told {'good' if last.is_done else 'bad'}")
    return node("div", told, role="status")


@dataclass
class Page:
    """One open page: who looks, what was done on it, and how it is drawn."""

    house: House
    visitor: Visitor
    look: Look
    acts: Mapping[str, Act]
    above: Callable[["Page"], None] | None = None
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last: tuple[str, str] | None = None
        self.is_over = False
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self._live = Sheet()
        self._news = Sheet()
        if self.above is not None:
            self.above(self)
        self._content = Sheet(self.heard)

    async def refresh(self) -> None:
        """Look again, and show it."""
        if self.is_over:
            return
        try:
            who = await asyncio.to_thread(self.house.sessions.bearer, self.visitor)
            if who is None:
                self._end()
                return
            tree = await self.look(Voice(role=who.role, outcomes=self.outcomes))
        except RetryLaterError as error:
            logger.warning("the console cannot read: %s", error)
            self._say("The database does not answer, trying again", is_stale=True)
            return
        now = words.clock_time(self.house.context.clock.utc_us())
        self._say(f"Live, {now} UTC")
        self._content.show(tree)
        self._news.show(news(tree, self.outcomes.get(self._last) if self._last else None))

    async def heard(self, form: Sent) -> None:
        """Do what a form asks for, as far as who sends it may."""
        act = self.acts.get(form.act)
        if act is None:
            return
        text, is_done = await self._do(act, form)
        self._last = form.act, form.key
        before = self.outcomes.get(self._last)
        number = before.number + 1 if before else 1
        self.outcomes[self._last] = Outcome(text=text, is_done=is_done, number=number)
        await self.refresh()

    async def _do(self, act: Act, form: Sent) -> tuple[str, bool]:
        try:
            who = await asyncio.to_thread(self.house.sessions.bearer, self.visitor)
            if who is None:
                return "You are signed out: sign in again.", False
            if who.role not in act.roles:
                return f"This needs the role {' or '.join(act.roles)}, not {who.role}.", False
            self.house.sessions.touch(self.visitor)
            call = act.call(form)
            answer = await self.house.asking.ask(who, call.method, call.path, call.body)
        except (RefusedError, RetryLaterError) as error:
            return f"Not done: {error}.", False
        if not answer.is_done:
            return f"Not done: {answer.problem}.", False
        self.house.looks.renew()
        return act.done(answer.content), True

    def _say(self, text: str, *, is_stale: bool = False) -> None:
        self._live.show(node("p", text, cls="live stale" if is_stale else "live"))

    def _end(self) -> None:
        self.is_over = True
        self._say("Signed out", is_stale=True)
        self._content.show(
            node(
                "div",
                node("p", "You are signed out, or your token was revoked."),
                node("p", node("a", "Sign in", href="/sign-in")),
                cls="empty",
            )
        )


async def open_page(
    house: House,
    request: Request,
    *,
    place: str,
    title: str,
    look: Look,
    acts: Iterable[Act] = (),
    above: Callable[[Page], None] | None = None,
    below: Callable[[], None] | None = None,
    every_s: float = _EVERY_S,
) -> Response | None:
    """Draw a page and keep it alive; or return what sends a stranger to sign in.

    `above` and `below` build what stands around the page's tree and is no part of it.
    """
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    visitor = visitor_of(house, request)
    who = await asyncio.to_thread(house.sessions.bearer, visitor) if visitor else None
    if visitor is None or who is None:
        return RedirectResponse(address("sign-in", next=path), 303)
    house.sessions.touch(visitor)
    ui.page_title(f"{title} \N{MIDDLE DOT} parkfleet")
    dress()
    Sheet().show(frame(place, who, is_guest=visitor.session is None, path=path))
    with ui.element("div").props('id=content tabindex=-1 role="region"') as content:
        content.props["aria-label"] = title
        Sheet().show(node("h1", title))
        page = Page(house, visitor, look, {each.name: each for each in acts}, above)
        if below is not None:
            below()
    Sheet().show(foot())
    await page.refresh()
    # Timers wait for the browser, and a page that waits for it is sent as far as it has come.
    for seconds, look_again in ((every_s, page.refresh), *page.timers):
        ui.timer(seconds, look_again, immediate=False)
    return None
