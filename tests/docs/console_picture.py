"""Draws the terminal console for the documentation, with an example's cars:
`python -m tests.docs.console_picture docs/images/console-terminal.svg`.
"""

import asyncio
import math
import re
import sys
from pathlib import Path

from fleet_server.terminal.app import ConsoleApp
from shared.messages import CommandResult
from shared.topics import RESULT
from tests.fleet_server.fleet import VirtualClock
from tests.fleet_server.terminal.fleets import (
    FakeLine,
    make_session,
    on_wire,
    presence,
    some_cars,
    telemetry,
)


async def drawn() -> str:
    """Return the screen of 80x24 as SVG."""
    line, clock = FakeLine(), VirtualClock()
    session = make_session(line, clock)
    session.start()
    some_cars(line)
    app = ConsoleApp(session)
    async with app.run_test(size=(80, 24)) as pilot:
        app.turn()
        for step in range(100):
            clock.now_us += 200_000
            label = 350.0 - 3 * step
            estimate = label + 8 + 7 * math.sin(step / 6)
            line.brings(telemetry("car-1", label=label, estimate=estimate, speed_mm_s=120.0 - step))
            session.poll()
        line.brings(telemetry("car-2"), telemetry("car-6", state="idle", speed_mm_s=0.0))
        line.brings(presence("car-8", online=False))
        await pilot.press("y")
        number = session.fleet.orders.of("car-1")[0].number
        answer = CommandResult(device="car-1", actor="anna", number=number, outcome="done")
        line.bring(*on_wire(RESULT, answer, id="car-1", actor="anna"))
        app.turn()
        app.draw()
        await pilot.pause()
        picture = app.export_screenshot(title="parkfleet console")
    # Fonts are the reader's own: nothing is fetched.
    return re.sub(r"@font-face \{.*?\}\n?", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(drawn()), "utf-8")
