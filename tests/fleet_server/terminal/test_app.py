"""The screen, driven by keys: Textual's own terminal, a line whose other end is the test."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from fleet_server.terminal.app import INTERRUPTED, ConsoleApp, HelpScreen
from shared.messages import Command, CommandResult
from shared.mqtt_events import Disconnected
from shared.signing import open_envelope
from shared.topics import COMMAND, RESULT, TELEMETRY
from tests.fleet_server.fleet import VirtualClock
from tests.fleet_server.terminal.fleets import (
    OWN,
    FakeLine,
    make_session,
    on_wire,
    presence,
    some_cars,
    telemetry,
)


@dataclass
class Driven:
    """A console on a screen of 80x24, and the broker's end of its line."""

    app: ConsoleApp
    line: FakeLine
    clock: VirtualClock
    pilot: Pilot[None]

    def text(self) -> str:
        """Return all that is on the screen."""
        parts = ("header", "table", "gauges", "trace", "stream", "keys")
        shown = [each for each in parts if self.app.query_one(f"#{each}").display]
        return "\n".join(str(self.app.query_one(f"#{each}", Static).content) for each in shown)

    def orders(self) -> list[Command]:
        """Return the orders said so far, whose signatures hold."""
        return [
            open_envelope(COMMAND, payload, topic=topic, message_type=Command, key=OWN.public)
            for topic, payload in self.line.said
        ]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    def has_help(self) -> bool:
        return isinstance(self.app.screen, HelpScreen)

    def look(self) -> None:
        """Let the console take what came, and draw."""
        self.app.turn()
        self.app.draw()


def drive(steps: Callable[[Driven], Awaitable[None]], *, role: str = "operator") -> ConsoleApp:
    async def run() -> ConsoleApp:
        line, clock = FakeLine(), VirtualClock()
        session = make_session(line, clock, role=role)
        session.start()
        some_cars(line)
        app = ConsoleApp(session)
        async with app.run_test(size=(80, 24)) as pilot:
            driven = Driven(app, line, clock, pilot)
            driven.look()
            await steps(driven)
        return app

    return asyncio.run(run())


def test_a_car_is_seen_to_go_and_the_numbers_follow_it() -> None:
    async def steps(driven: Driven) -> None:
        assert "8 of 9 cars online" in driven.text()
        driven.line.brings(telemetry("car-1"))
        driven.look()
        assert "estimate 123.8 ±3.5  measured 120.5  error +3.2" in driven.text()
        driven.line.brings(presence("car-1", online=False))
        driven.look()
        assert "7 of 9 cars online" in driven.text()
        assert "car-1 ! offline" in driven.text()

    drive(steps)


@pytest.mark.slow
def test_an_order_is_signed_by_its_operator_and_its_answer_is_shown() -> None:
    async def steps(driven: Driven) -> None:
        await driven.press("down", "x", "i")
        stop, identify = driven.orders()
        assert (stop.device, stop.verb, stop.actor) == ("car-2", "stop", "anna")
        assert "identify car-2: sent" in driven.text()
        answer = CommandResult(
            device="car-2", actor="anna", number=identify.number, outcome="refused", reason="moving"
        )
        driven.line.bring(*on_wire(RESULT, answer, id="car-2", actor="anna"))
        driven.look()
        assert "identify car-2: refused: moving" in driven.text()
        assert "car-2 ! identify refused: moving" in driven.text()

    drive(steps)


@pytest.mark.slow
def test_to_park_is_asked_about_and_goes_to_the_car_that_was_asked_about() -> None:
    async def steps(driven: Driven) -> None:
        await driven.press("p")
        assert "park car-1? Enter does it" in driven.text()
        await driven.press("escape", "enter", "p", "down", "enter")
        assert driven.orders() == []
        await driven.press("p", "enter")
        assert [(each.device, each.verb) for each in driven.orders()] == [("car-2", "park")]

    drive(steps)


@pytest.mark.slow
def test_an_order_with_arguments_is_entered_as_a_line() -> None:
    async def steps(driven: Driven) -> None:
        await driven.press("colon")
        driven.app.query_one("#entry", Input).value = "pictures 00000007-00c0ffee 3,7"
        await driven.press("enter")
        (order,) = driven.orders()
        assert (order.verb, order.arguments) == ("pictures", {"00000007-00c0ffee": "3,7"})
        await driven.press("colon", "f", "l", "y", "enter")
        assert "no order 'fly'" in driven.text()

    drive(steps)


@pytest.mark.slow
def test_a_filter_narrows_the_table_and_what_is_listened_to() -> None:
    async def steps(driven: Driven) -> None:
        await driven.press("slash", *"car-7")
        assert "filter: car-7" in driven.text()
        assert "car-6" not in driven.text()
        await driven.press("enter", "y")
        assert [each.device for each in driven.orders()] == ["car-7"]
        live = {each for each in driven.line.filters if TELEMETRY.parts(each) is not None}
        assert live == {TELEMETRY.filter(id="car-7")}
        await driven.press("escape", "o", "d", "e")
        assert "car-5 " in driven.text()
        assert not driven.app.query_one("#trace").display

    drive(steps)


def test_a_viewers_console_gives_no_order() -> None:
    async def steps(driven: Driven) -> None:
        await driven.press("x")
        assert driven.line.said == []
        assert "stop: a viewer's console watches and gives no orders" in driven.text()

    drive(steps, role="viewer")


def test_without_a_connection_it_says_so_and_says_nothing_later() -> None:
    async def steps(driven: Driven) -> None:
        driven.line.dropped = 7
        driven.line.coming.append(Disconnected(reason="refused: Not authorized"))
        driven.look()
        assert "7 messages dropped" in driven.text()
        assert "NO CONNECTION: it does not know this console" in driven.text()

    drive(steps)


@pytest.mark.slow
def test_help_and_the_ways_to_end() -> None:
    async def help_and_quit(driven: Driven) -> None:
        await driven.press("question_mark")
        assert driven.has_help()
        await driven.press("z")
        assert not driven.has_help()
        await driven.press("q")

    async def interrupt(driven: Driven) -> None:
        await driven.press("slash", "ctrl+c")

    assert drive(help_and_quit).return_code == 0
    assert drive(interrupt).return_code == INTERRUPTED
