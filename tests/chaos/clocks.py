"""The chapter of the wrong clocks: UTC jumps to 1970, back, ahead by ten years, on every machine.

*Pairs*: cars log and sync while their clocks and the server's jump (`small_world`, virtual time).
What counts is that nothing is lost or doubled, that boot and sequence still tell the order in which
pairs were logged, and that a pair of a wrong clock says so.
*Trust*: the server signs release metadata day by day, some days under a wrong clock; a car of any
clock is shown the metadata of today, or, by whoever holds the broker, those of an earlier day. What
counts is that none is believed that had expired by the newest moment the car was ever certain of,
nor an older version after a newer one; and that today's are believed where a car's clock is right.

Laws:
- a clock claims to be synchronised only while it is right.
"""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from tuf.api.metadata import Metadata, Timestamp

from device.agent.releases import ReleaseClient
from fleet_server.storage.database import Database
from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from shared.errors import ParkfleetError
from shared.messages import ReleaseMetadata
from shared.releases import TIMESTAMP_VALID
from shared.samples import Sample
from tests.chaos.chapter import Chapter, Stage, Told, enough, none
from tests.chaos.silence import without_log
from tests.chaos.small_world import SECOND_US, SkewedClock, SmallWorld, Template
from tests.chaos.verdict import Found
from tests.device.agent.world import Fleet, SettableClock, enrolled_home

JUMPS: Final = 1500
DAYS: Final = 400
_QUICK_SHARE: Final = 10
_CARS: Final = ("car-1", "car-2")
_DAY_US: Final = 86_400 * SECOND_US
_YEAR_US: Final = 365 * _DAY_US
_LOSS: Final = 0.2
_OFF: Final = (
    0,
    -100 * _YEAR_US,
    -30 * _DAY_US,
    -3600 * SECOND_US,
    3600 * SECOND_US,
    10 * _YEAR_US,
)
"""By how much a clock may be off; the first is right, a hundred years back is 1970."""

_VALID_US: Final = TIMESTAMP_VALID // timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_GRAIN_US: Final = 3600 * SECOND_US
"""How exactly a car remembers the time (`device.agent.releases`)."""


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """What became of pairs; `disordered` and `mislabelled` count pairs."""

    jumps: int
    disordered: int
    mislabelled: int
    found: Found


class Trust(msgspec.Struct, kw_only=True):
    """What a car believed: of today's metadata and of earlier ones, and under which clocks."""

    days: int = 0
    today_shown: int = 0
    today_believed: int = 0
    earlier_shown: int = 0
    earlier_believed: int = 0
    wrong_clocks: int = 0
    fooled: int = 0
    locked_out: int = 0


def run(stage: Stage) -> Told:
    """Let clocks jump, and tell what was found."""
    share = _QUICK_SHARE if stage.is_quick else 1
    jumps, days = (stage.cycles or JUMPS // share), (stage.cycles or DAYS // share)
    with bar("clocks jump", jumps + days) as tell, without_log():
        pairs = _sync(stage, jumps, tell)
        trust = _trust(stage, days, lambda done: tell(jumps + done))
    made = checks(pairs, trust)
    body = {"pairs": msgspec.to_builtins(pairs), "trust": msgspec.to_builtins(trust)}
    return Told(checks=made, body=body, text=_text(pairs, trust, made))


CHAPTER: Final = Chapter(name="clocks", title="Clocks that jump", run=run)


def _sync(stage: Stage, jumps: int, tell: Callable[[int], None]) -> Pairs:
    rng = random.Random(stage.seed)
    world = SmallWorld(Template(stage.folder, _CARS), stage.folder / "world", seed=stage.seed)
    for car in world.cars:
        car.connect()
    for done in range(jumps):
        clock = rng.choice([world.server_clock, *(car.clock for car in world.cars)])
        clock.off_us = rng.choice(_OFF)
        clock.synced = clock.off_us == 0
        world.time.now_us += rng.randint(0, 20) * SECOND_US
        rng.choice(world.cars).log(1)
        _exchange(world, rng)
        tell(done + 1)
    world.settle()
    disordered, mislabelled = _misread(world)
    found = world.judge()
    world.close()
    return Pairs(jumps=jumps, disordered=disordered, mislabelled=mislabelled, found=found)


def _exchange(world: SmallWorld, rng: random.Random) -> None:
    """Hand on what is said, in any order; some of it gets lost."""
    world.step()
    messages, world.up = world.up, []
    rng.shuffle(messages)
    kept = [each for each in messages if rng.random() >= _LOSS]
    if kept:
        world.serve(kept)
    for car in world.cars:
        arrived, car.down = car.down, []
        for each in arrived:
            if rng.random() >= _LOSS:
                car.hear(each)
    world.collect()


def _misread(world: SmallWorld) -> tuple[int, int]:
    """Return how many stored pairs are out of their order, and how many hide their wrong clock."""
    disordered = mislabelled = 0
    last: dict[str, int] = {}
    for sample in _samples(world.database):
        disordered += sample.monotonic_us <= last.get(sample.device, -1)
        last[sample.device] = sample.monotonic_us
        # A right clock is never further from the time since the start than that is rounded.
        true_us = SkewedClock(world.time).utc_us() - world.time.now_us + sample.monotonic_us
        is_right = abs(sample.utc_us - true_us) < SECOND_US
        mislabelled += sample.clock_synced != is_right
    return disordered, mislabelled


def _samples(database: Database) -> list[Sample]:
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT body FROM samples ORDER BY device, boot, sequence"
        ).fetchall()
    return [msgspec.msgpack.decode(body, type=Sample) for (body,) in rows]


class _Shown(msgspec.Struct, frozen=True):
    """Metadata as they were on a day; when their timestamp expires, and its version."""

    metadata: ReleaseMetadata
    expires_us: int
    version: int


def _trust(stage: Stage, days: int, tell: Callable[[int], None]) -> Trust:
    rng = random.Random(stage.seed)
    true, clock = SettableClock(), SettableClock()
    fleet = Fleet(root=stage.folder / "releases", clock=true)
    target = fleet.release(b"a model")
    client = ReleaseClient(enrolled_home(stage.folder / "car", fleet), clock)
    watched = _Trial(fleet, client, clock, target)
    start_us = true.now_us
    trust = Trust(days=days)
    history: list[_Shown] = []
    for day in range(days):
        # Within the life of what the owner signed: later no clock is of any help.
        true.now_us = start_us + day * 80 * _DAY_US // days
        _sign(fleet, true, rng)
        history.append(_shown(fleet))
        off_us = rng.choice(_OFF)
        clock.now_us, clock.synced = max(0, true.now_us + off_us), off_us == 0
        trust.wrong_clocks += off_us != 0
        watched.show(history, rng, trust, is_right=off_us == 0)
        tell(day + 1)
    return trust


def _sign(fleet: Fleet, true: SettableClock, rng: random.Random) -> None:
    """Have the server sign, some days under a wrong clock first."""
    right_us = true.now_us
    if rng.random() < 0.3:
        true.now_us = max(0, right_us + rng.choice(_OFF))
        fleet.repository.refresh()
        true.now_us = right_us
    fleet.repository.refresh()


def _shown(fleet: Fleet) -> _Shown:
    found = fleet.metadata()
    timestamp = Metadata[Timestamp].from_bytes(found.files["timestamp.json"]).signed
    expires_us = (timestamp.expires - _EPOCH) // timedelta(microseconds=1)
    return _Shown(found, expires_us, timestamp.version)


class _Trial:
    """A car that is shown metadata, and what it may know."""

    def __init__(
        self, fleet: Fleet, client: ReleaseClient, clock: SettableClock, target: str
    ) -> None:
        self._fleet, self._client, self._clock, self._target = fleet, client, clock, target
        self._certain_us = self._version = 0

    def show(
        self, history: Sequence[_Shown], rng: random.Random, trust: Trust, *, is_right: bool
    ) -> None:
        """Show today's metadata or earlier ones, and judge whether they are believed."""
        is_today = rng.random() < 0.5
        shown = history[-1] if is_today else rng.choice(history)
        believed = self._believes(shown)
        trust.today_shown += is_today
        trust.earlier_shown += not is_today
        trust.today_believed += is_today and believed
        trust.earlier_believed += not is_today and believed
        stale = shown.expires_us + _GRAIN_US < self._certain_us or shown.version < self._version
        trust.fooled += believed and stale
        trust.locked_out += is_today and is_right and not believed
        if believed:
            self._version = max(self._version, shown.version)
            self._certain_us = max(self._certain_us, shown.expires_us - _VALID_US)
            if self._clock.is_synced():
                self._certain_us = max(self._certain_us, self._clock.utc_us())

    def _believes(self, shown: _Shown) -> bool:
        try:
            self._client.find(shown.metadata, self._target)
        except ParkfleetError:
            return False
        return True


def checks(pairs: Pairs, trust: Trust) -> list[Check]:
    """Return what decides; the last two tell whether enough was at stake."""
    faults = {
        **pairs.found.wrong,
        "pairs out of the order in which they were logged": pairs.disordered,
        "pairs that do not say whether their clock was right": pairs.mislabelled,
        "times that a car believed what it knew to be expired or older": trust.fooled,
        "times that a car with a right clock did not believe today's metadata": trust.locked_out,
    }
    return [
        *none("clocks", faults),
        enough("clocks", "days under a wrong clock", trust.wrong_clocks, trust.days // 2),
        enough(
            "clocks",
            "times that earlier metadata were shown and refused",
            trust.earlier_shown - trust.earlier_believed,
            trust.days // 10,
        ),
    ]


def _text(pairs: Pairs, trust: Trust, made: list[Check]) -> str:
    said = (
        f"{pairs.jumps} jumps while {pairs.found.pairs} pairs were logged and synced, a fifth of "
        f"the messages being lost. On {trust.days} days, {trust.wrong_clocks} of them under a "
        f"wrong clock, a car was shown today's metadata {trust.today_shown} times and believed "
        f"them {trust.today_believed} times, earlier ones {trust.earlier_shown} times and believed "
        f"{trust.earlier_believed}: those that no newer moment had ruled out yet."
    )
    return "\n\n".join([said, checks_table(made)])
