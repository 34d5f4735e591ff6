"""The terminal console's screen: keys in, the view out; whatever it shows is made elsewhere.

    key               what it does                      key          what it does
    Up, Down ...      choose a car                      x            stop it, at once
    /                 filter; Esc clears it             y, t, i      sync, self-test, identify
    o                 by name, or trouble first         p            park, after Enter
    e                 events of all, or of the car      :            any order, with arguments
    d                 details on, off                   ?, q         help, quit

Laws:
- `stop` is one key and is never asked about; `park` moves a car and is asked about;
- nothing here waits: the connection is looked into between two pictures of the screen;
- the terminal's own colours are used, and none is needed.
"""

from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from fleet_server.terminal import render
from fleet_server.terminal.car import Car
from fleet_server.terminal.orders import VERBS
from fleet_server.terminal.session import Session
from shared.errors import RefusedError, RetryLaterError

LOOK_S = 0.1
"""How often the connection is looked into; a live figure is shown no later than that."""

CARS_A_LOOK = 1000
"""For so many cars the screen is drawn at each look, for twice as many at each second one ..."""

INTERRUPTED = 130

HELP_LINE = "x stop  y sync  t test  i identify  p park  : order  / filter  ? help  q quit"

HELP = f"""parkfleet console

Up, Down, PgUp, PgDn, Home, End   choose a car
/      filter by words: a name, a deployment, online, offline, silent,
       fault, a state such as reversing; Esc clears it
o      order the table by name, or put trouble first
d      details of the chosen car on or off
e      events of all cars, or of the chosen one
x      stop the car: at once, whatever it does
y      sync: send now what waits
t      self-test (standing)      i  lamp and buzzer (standing)
p      park (somebody pressed a button at the car within 60 s); Enter confirms
:      an order with arguments: {", ".join(VERBS)}
       such as  pictures 00000007-00c0ffee 3,7,10-20
q      quit

RUNS and WANTS are a model's number and the beginning of its digest, ERR is
estimate less measured distance. A ! means faults. A ? behind a name: the server has signed
nothing for this car; it is unconfirmed, revoked, or the broker forgot.
In the plot x is the estimate, - what the sensor measured, * both; err and
spd are bars up to the number before them; state is its first letter.

Any key goes back."""


class HelpScreen(ModalScreen[None]):
    """All keys, until one is pressed."""

    def compose(self) -> ComposeResult:
        """Show the text."""
        yield Static(Text(HELP), id="help-text")

    def on_key(self) -> None:
        """Go back."""
        self.dismiss()


class ConsoleApp(App[None]):
    """The screen over one session."""

    AUTO_FOCUS = None
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #header, #keys { height: 1; }
    #table { height: 7fr; }
    #gauges { height: 4; }
    #trace { height: 8fr; }
    #stream { height: 3fr; }
    #entry { height: 1; border: none; padding: 0; display: none; }
    HelpScreen { align: center middle; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)"),
        Binding("down", "choose(1)"),
        Binding("pageup", "choose(-10)"),
        Binding("pagedown", "choose(10)"),
        Binding("home", "choose(-1000000)"),
        Binding("end", "choose(1000000)"),
        Binding("slash", "enter_filter"),
        Binding("colon", "enter_order"),
        Binding("escape", "leave"),
        Binding("o", "turn_about('by_trouble')"),
        Binding("d", "turn_about('has_details')"),
        Binding("e", "turn_about('of_car')"),
        Binding("x", "give('stop')"),
        Binding("y", "give('sync')"),
        Binding("t", "give('selftest')"),
        Binding("i", "give('identify')"),
        Binding("p", "ask('park')"),
        Binding("enter", "confirm"),
        Binding("question_mark", "help"),
        Binding("q", "quit"),
        Binding("ctrl+c", "interrupt", priority=True),
    ]

    def __init__(self, session: Session) -> None:
        """Show `session`, which is connected."""
        super().__init__(ansi_color=True)
        self._session = session
        self.words = self.chosen = self.said = ""
        self.by_trouble = self.of_car = False
        self.has_details = True
        self._asked: tuple[str, str] | None = None
        self._entering = ""
        self._shown = (-1, 0)
        self._looks = 0

    def compose(self) -> ComposeResult:
        """Lay the parts out, from the top down."""
        for name in ("header", "table", "gauges", "trace", "stream", "keys"):
            yield Static(id=name)
        yield Input(id="entry", select_on_focus=False)

    def on_mount(self) -> None:
        """Begin to look."""
        self.set_interval(LOOK_S, self.turn)
        self.call_after_refresh(self.draw)

    def on_resize(self) -> None:
        """Fit the new size."""
        self.call_after_refresh(self.draw)

    def turn(self) -> None:
        """Take what came; draw where something changed, and once a second, since ages grow.

        The larger the fleet, the less often, so that the keyboard is answered.
        """
        self._session.poll()
        self._looks += 1
        if self._looks % (1 + len(self._session.fleet.cars) // CARS_A_LOOK):
            return
        shown = (self._session.fleet.changes, self._session.clock.monotonic_us() // 1_000_000)
        if shown != self._shown:
            self._shown = shown
            self.draw()

    def cars(self) -> list[Car]:
        """Return the cars in the table, in its order."""
        now_us = self._session.clock.monotonic_us()
        fleet = self._session.fleet
        return render.chosen_cars(fleet, self.words, by_trouble=self.by_trouble, now_us=now_us)

    def draw(self) -> None:
        """Show everything as it is now."""
        if isinstance(self.screen, HelpScreen):
            return
        fleet, cars = self._session.fleet, self.cars()
        clock = self._session.clock
        now = render.Now(utc_us=clock.utc_us(), now_us=clock.monotonic_us())
        selected = self._selected(cars)
        width = self.size.width
        height = self.query_one("#table").size.height
        self._show(
            "header",
            render.header(fleet, place=self._session.place, words=self.words, width=width, now=now),
        )
        self._show(
            "table",
            render.table(cars, fleet, selected=selected, width=width, height=height, now=now),
        )
        car = cars[selected] if cars else None
        self._draw_details(car, width, now)
        lines = self.query_one("#stream").size.height
        of = self.chosen if self.of_car else ""
        self._show("stream", render.stream(fleet.events.last(lines, of), width=width))
        self._show("keys", self._line())
        on_screen = render.window(len(cars), selected, max(height - 1, 1))
        self._session.watch(cars[at].name for at in on_screen)

    def action_choose(self, by: int) -> None:
        """Choose the car `by` lines further down."""
        self._asked, self.said = None, ""
        cars = self.cars()
        if cars:
            at = min(max(self._selected(cars) + by, 0), len(cars) - 1)
            self.chosen = cars[at].name
        self.draw()

    def action_turn_about(self, name: str) -> None:
        """Turn an aspect of the view on or off."""
        setattr(self, name, not getattr(self, name))
        self.draw()

    def action_give(self, verb: str) -> None:
        """Order `verb` of the chosen car."""
        self._asked = None
        self._give(self.chosen, verb, {})

    def action_ask(self, verb: str) -> None:
        """Order `verb` of the chosen car once Enter is pressed."""
        self._asked = (verb, self.chosen)
        self.said = f"{verb} {self.chosen}? Enter does it, Esc does not"
        self.draw()

    def action_confirm(self) -> None:
        """Do what was asked about, to the car that was named."""
        if self._asked is not None:
            (verb, device), self._asked = self._asked, None
            self._give(device, verb, {})

    def action_leave(self) -> None:
        """Leave what is being entered or asked; else clear the filter."""
        if not self._entering and self._asked is None:
            self.words = ""
        self._leave_entry()
        self._asked, self.said = None, ""
        self.draw()

    def action_enter_filter(self) -> None:
        """Let words be entered that cars have to match."""
        self._enter("filter", self.words)

    def action_enter_order(self) -> None:
        """Let an order be entered."""
        self._enter("order", "")

    def action_help(self) -> None:
        """Show all keys."""
        self.push_screen(HelpScreen(), lambda _: self.draw())

    def action_interrupt(self) -> None:
        """End as Ctrl-C ends every command."""
        self.exit(return_code=INTERRUPTED)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as the words are typed."""
        if self._entering == "filter":
            self.words = event.value
            self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take what was entered."""
        entering, words = self._entering, event.value.split()
        self._leave_entry()
        if entering == "order" and words:
            self._give(self.chosen, words[0], dict([words[1:3]]) if len(words) == 3 else {})
        self.draw()

    def _draw_details(self, car: Car | None, width: int, now: render.Now) -> None:
        is_shown = car is not None and self.has_details
        for name in ("gauges", "trace"):
            self.query_one(f"#{name}").display = is_shown
        if car is not None and is_shown:
            fleet, height = self._session.fleet, self.query_one("#trace").size.height
            self._show("gauges", render.gauges(car, fleet, width=width, now=now))
            self._show("trace", render.trace(car, width=width, height=height, now=now))

    def _selected(self, cars: list[Car]) -> int:
        names = [car.name for car in cars]
        if self.chosen not in names:
            self.chosen = names[0] if names else ""
        return names.index(self.chosen) if names else 0

    def _give(self, device: str, verb: str, arguments: dict[str, str]) -> None:
        try:
            self._session.order(device, verb, arguments)
            self.said = self._session.fleet.ordering_ends(self._session.access.key.public)
        except (RefusedError, RetryLaterError) as error:
            self.said = f"{verb}: {error}"
        self.draw()

    def _line(self) -> Text:
        if not self.said:
            return Text(HELP_LINE, style=render.DIM, no_wrap=True)
        return Text(self.said, style=render.BAD, no_wrap=True)

    def _show(self, name: str, text: Text) -> None:
        self.query_one(f"#{name}", Static).update(text)

    def _enter(self, what: str, value: str) -> None:
        entry = self.query_one("#entry", Input)
        self._entering, self._asked = what, None
        entry.value, entry.placeholder = value, f"{what} (Enter ends, Esc leaves)"
        self.query_one("#keys").display = False
        entry.display = True
        entry.focus()

    def _leave_entry(self) -> None:
        self._entering = ""
        self.query_one("#entry").display = False
        self.query_one("#keys").display = True
        self.screen.set_focus(None)
