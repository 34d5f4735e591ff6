"""What the control process publishes, and what it takes from the broker again."""

from pathlib import Path

import pytest
from sqlalchemy import insert, update

from fleet_server.running.bridge import Outgoing
from fleet_server.running.consoles import Consoles
from fleet_server.running.herald import Herald
from fleet_server.storage.tables import desired, devices
from shared.ids import sha256_hex
from shared.messages import Desired
from shared.releases import split
from shared.signing import open_envelope
from shared.topics import DESIRED, RELEASE_METADATA, RELEASE_TARGET
from tests.fleet_server.fleet import DEPLOYMENT, Fleet
from tests.fleet_server.releases.world import World

ONE, TWO = b"1" * 20_000, b"2" * 10_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def wants(fleet: Fleet, car: str, revision: int, target: str, **more: object) -> None:
    """Have `car` be told to run `target`, and whatever else."""
    with fleet.database.write() as connection:
        number = connection.execute(
            insert(desired)
            .values(
                device=car,
                epoch=1,
                revision=revision,
                deployment=DEPLOYMENT,
                target=target,
                upload="pictures",
                utc_us=1,
                **more,
            )
            .returning(desired.c.id)
        ).scalar_one()
        connection.execute(update(devices).where(devices.c.name == car).values(desired=number))


def herald_of(fleet: Fleet, world: World) -> Herald:
    return Herald(
        database=fleet.database,
        repository=world.repository,
        consoles=Consoles(fleet.state, fleet.database, fleet.server_key, fleet.clock),
        key=fleet.server_key,
        clock=fleet.clock,
    )


def pieces(published: list[Outgoing]) -> list[tuple[str, bytes]]:
    return [(each.topic, each.body) for each in published if RELEASE_TARGET.parts(each.topic)]


def topics_of(model: bytes) -> list[str]:
    numbers = range(len(split(model)))
    return [RELEASE_TARGET.topic(sha256=sha256_hex(model), n=number) for number in numbers]


def test_a_model_is_published_once_however_many_cars_want_it(fleet: Fleet, world: World) -> None:
    path = world.release(ONE, 1)
    herald = herald_of(fleet, world)
    herald.subscriptions()
    for number in range(3):
        fleet.add_car(f"car-{number}0")
        wants(fleet, f"car-{number}0", 1, path)
        published = list(herald.news())
        assert pieces(published) == (
            list(zip(topics_of(ONE), split(ONE), strict=True)) if number == 0 else []
        )
        order = [each.topic for each in published]
        assert (RELEASE_METADATA.topic() in order) == (number == 0)


def test_what_is_offered_no_longer_is_taken_from_the_broker(fleet: Fleet, world: World) -> None:
    first, second = world.release(ONE, 1), world.release(TWO, 2)
    herald = herald_of(fleet, world)
    herald.subscriptions()
    wants(fleet, "car-1", 1, first)
    list(herald.news())
    wants(fleet, "car-1", 2, second)
    published = pieces(list(herald.news()))
    assert published[:2] == list(zip(topics_of(TWO), split(TWO), strict=True))
    assert published[2:] == [(topic, b"") for topic in topics_of(ONE)]
    assert pieces(list(herald.news())) == []
    wants(fleet, "car-1", 3, first)
    again = pieces(list(herald.news()))
    assert again[:3] == list(zip(topics_of(ONE), split(ONE), strict=True))


def test_a_server_that_starts_anew_clears_what_the_one_before_left(
    fleet: Fleet, world: World
) -> None:
    world.release(ONE, 1)
    herald = herald_of(fleet, world)
    herald.subscriptions()
    assert pieces(list(herald.news())) == [(topic, b"") for topic in topics_of(ONE)]


def wish_of(fleet: Fleet, published: list[Outgoing]) -> Desired:
    """Return the last desired state among what was published."""
    said = [each for each in published if DESIRED.parts(each.topic)][-1]
    key = fleet.server_key.public
    return open_envelope(DESIRED, said.body, topic=said.topic, message_type=Desired, key=key)


def test_cars_are_told_of_two_arms_by_the_shares_of_their_paths(fleet: Fleet, world: World) -> None:
    first, second = world.release(ONE, 1), world.release(TWO, 2)
    herald = herald_of(fleet, world)
    herald.subscriptions()
    wants(fleet, "car-1", 1, first, candidate=second, share=0.25, draw="thompson")
    wish = wish_of(fleet, list(herald.news()))
    assert wish.arms == {first: 0.75, second: 0.25}
    assert (wish.candidate, wish.draw) == (second, "thompson")
    wants(fleet, "car-1", 2, first, candidate=second)
    wish = wish_of(fleet, list(herald.news()))
    assert (wish.arms, wish.draw) == ({}, "share")
