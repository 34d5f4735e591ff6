import asyncio

from fleet_server.console.house import Looks
from tests.fleet_server.console.fleets import SECOND_US, StandingClock


def test_many_pages_cost_one_look_a_second() -> None:
    clock, asked = StandingClock(), []
    looks = Looks(clock)

    def read(before: int | None) -> int:
        asked.append(before)
        return len(asked)

    async def pages() -> list[int]:
        first = await asyncio.gather(*(looks.at("fleet", read) for _ in range(20)))
        clock.now_us += SECOND_US
        return first + await asyncio.gather(*(looks.at("fleet", read) for _ in range(20)))

    assert asyncio.run(pages()) == [1] * 20 + [2] * 20
    assert asked == [None, 1]


def test_what_was_changed_is_looked_at_anew() -> None:
    looks = Looks(StandingClock())
    numbers = iter(range(1, 9))

    async def twice() -> tuple[int, int]:
        before = await looks.at("log", lambda _: next(numbers))
        looks.renew()
        return before, await looks.at("log", lambda _: next(numbers))

    assert asyncio.run(twice()) == (1, 2)


def test_a_look_that_nobody_asks_for_is_forgotten() -> None:
    clock = StandingClock()
    looks = Looks(clock)
    held: list[str | None] = []

    def read(before: str | None) -> str:
        held.append(before)
        return "seen"

    async def later() -> None:
        await looks.at("a car", read)
        clock.now_us += 120 * SECOND_US
        await looks.at("another", lambda _: "seen")
        await looks.at("a car", read)

    asyncio.run(later())

    assert held == [None, None]
