"""The chapter of the state machine: hypothesis drives cars, broker and server as it likes.

Each run draws some fifty steps: cars log, connect, lose the broker, are killed; messages and
receipts are delivered in any order, twice, never, to a server that is killed before or after its
commit; the broker forgets everything; wishes change what may leave a car; clocks jump; strangers
send rubbish, forged receipts and another car's. The model is what must be stored: each pair that a
journal committed, once.

Laws, after every step:
- what a journal holds for sent is in the server's database;
- no row was put aside: there was nothing wrong with any;
and at the end, once everything was delivered: each journal is empty, and the database holds what
they committed, once, with its pictures and the ends of its manoeuvres, and nothing else.
"""

import random
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar, Final

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from shared.ids import sha256_hex
from shared.messages import Receipt, UploadLevel
from shared.signing import SigningKey, seal
from shared.topics import BATCH, RECEIPT
from tests.chaos.chapter import Chapter, Stage, Told, enough, none
from tests.chaos.silence import without_log
from tests.chaos.small_world import SECOND_US, Car, SmallWorld, Template, received

RUNS: Final = 600
QUICK_RUNS: Final = 30
STEPS: Final = 50
_LINES: Final = 40
_CARS: Final = ("car-1", "car-2")
_YEAR_US: Final = 365 * 86_400 * SECOND_US
_JUMPS: Final = (0, -50 * _YEAR_US, 10 * _YEAR_US, -86_400 * SECOND_US, 3600 * SECOND_US)
_FORGER: Final = SigningKey(b"f" * 32)

_LEVELS: Final[tuple[UploadLevel, ...]] = ("pictures", "none", "pictures", "characteristics")

_cars = st.integers(0, len(_CARS) - 1)


class Tally(msgspec.Struct, kw_only=True):
    """What all runs did: how many there were, their steps by the rule's name, pairs in the end."""

    runs: int = 0
    pairs: int = 0
    steps: dict[str, int] = msgspec.field(default_factory=dict)


@dataclass
class Setting:
    """What all runs have in common; `tell` hears how many have ended well."""

    template: Template
    folder: Path
    tell: Callable[[int], None]
    tally: Tally = field(default_factory=Tally)
    numbers: Iterator[int] = field(default_factory=count)


class Machine(RuleBasedStateMachine):
    """One run; `setting` is given to the class before the first one."""

    setting: ClassVar[Setting]

    world: SmallWorld | None = None

    @initialize(number=st.integers(0, 2**32))
    def start(self, number: int) -> None:
        """Start everything, connected."""
        setting = self.setting
        folder = setting.folder / str(next(setting.numbers))
        self.world = SmallWorld(setting.template, folder, seed=number)
        for car in self.world.cars:
            car.connect()
            car.hear(car.wish("pictures"))

    @property
    def _now(self) -> SmallWorld:
        if self.world is None:
            raise RuntimeError("the run has not begun")
        return self.world

    def _did(self, what: str) -> SmallWorld:
        steps = self.setting.tally.steps
        steps[what] = steps.get(what, 0) + 1
        return self._now

    def _car(self, number: int) -> Car:
        return self._now.cars[number]

    @rule(car=_cars, manoeuvres=st.integers(1, 6))
    def log(self, car: int, manoeuvres: int) -> None:
        """A car drives."""
        world = self._did("manoeuvres logged")
        world.cars[car].log(manoeuvres)
        world.step()

    @rule(seconds=st.sampled_from([0, 1, 5, 30, 100]))
    def wait(self, seconds: int) -> None:
        """Time passes, and cars do what is due."""
        world = self._did("waits")
        world.time.now_us += seconds * SECOND_US
        world.step()

    @precondition(lambda self: self.world is not None and self.world.waits)
    @rule(car=_cars, trouble=st.sampled_from(["killed", "lost the broker", "told another wish"]))
    def trouble(self, car: int, trouble: str) -> None:
        """An agent is killed, loses the broker, or is told that more or less may leave."""
        chosen = self._did(f"agents {trouble}").cars[car]
        if trouble == "killed":
            chosen.kill()
        elif trouble == "lost the broker":
            chosen.disconnect()
        else:
            chosen.hear(chosen.wish(_LEVELS[chosen.revision % len(_LEVELS)]))

    @precondition(lambda self: self.world is not None and not self.world.are_connected)
    @rule()
    def connect(self) -> None:
        """All cars reach the broker, and send."""
        world = self._did("connections")
        for car in world.cars:
            car.connect()
        world.step()

    @precondition(lambda self: self.world is not None and self.world.up)
    @rule()
    def forget(self) -> None:
        """The broker forgets everything."""
        self._did("brokers wiped").forget()

    @precondition(lambda self: self.world is not None and self.world.up)
    @rule(order=st.randoms(use_true_random=False))
    def deliver(self, order: random.Random) -> None:
        """The server takes all that waits, in any order, and the cars hear of it."""
        world = self._did("all delivered")
        messages, world.up = world.up, []
        order.shuffle(messages)
        world.serve(messages)
        for car in world.cars:
            arrived, car.down = car.down, []
            order.shuffle(arrived)
            for each in arrived:
                car.hear(each)
        world.collect()

    @precondition(lambda self: self.world is not None and self.world.up)
    @rule(
        data=st.data(),
        together=st.integers(1, 4),
        fate=st.sampled_from(
            ["delivered", "delivered", "delivered twice", "lost", "stored, then killed"]
        ),
    )
    def serve(self, data: st.DataObject, together: int, fate: str) -> None:
        """The server takes some of the messages that wait, in any order."""
        world = self._did(f"batches {fate}")
        places = st.lists(
            st.integers(0, len(world.up) - 1), min_size=1, max_size=together, unique=True
        )
        chosen = data.draw(places)
        messages = [world.up[at] for at in chosen]
        if fate != "delivered twice":
            world.up = [each for at, each in enumerate(world.up) if at not in set(chosen)]
        if fate != "lost":
            world.serve(messages, tells=fate != "stored, then killed")
        if fate == "stored, then killed":
            world.start_server()

    @precondition(lambda self: self.world is not None and any(c.down for c in self.world.cars))
    @rule(
        data=st.data(), fate=st.sampled_from(["delivered", "delivered", "delivered twice", "lost"])
    )
    def hear(self, data: st.DataObject, fate: str) -> None:
        """A car hears one of the receipts on their way to it."""
        world = self._did(f"receipts {fate}")
        car = data.draw(st.sampled_from([each for each in world.cars if each.down]))
        at = data.draw(st.integers(0, len(car.down) - 1))
        message = car.down[at] if fate == "delivered twice" else car.down.pop(at)
        if fate != "lost" and car.agent.is_connected:
            car.hear(message)
        world.collect()

    @precondition(lambda self: self.world is not None and self.world.waits)
    @rule(car=st.none() | _cars, jump=st.sampled_from(_JUMPS), synced=st.booleans())
    def jump(self, car: int | None, jump: int, synced: bool) -> None:
        """The clock of a car or of the server jumps."""
        world = self._did("clock jumps")
        clock = world.server_clock if car is None else world.cars[car].clock
        clock.off_us, clock.synced = jump, synced

    @precondition(lambda self: self.world is not None and self.world.waits)
    @rule(car=_cars, body=st.binary(max_size=60))
    def rubbish(self, car: int, body: bytes) -> None:
        """Somebody sends rubbish both ways."""
        world = self._did("rubbish")
        chosen = world.cars[car]
        world.serve([(BATCH.topic(id=chosen.name), body)])
        chosen.hear(received(RECEIPT.topic(id=chosen.name), body))

    @precondition(lambda self: self.world is not None and self.world.up)
    @rule(data=st.data(), car=_cars)
    def forge(self, data: st.DataObject, car: int) -> None:
        """Somebody forges the receipt of a message on its way."""
        world = self._did("forged receipts")
        topic, body = data.draw(st.sampled_from(world.up))
        victim = world.cars[car]
        said = Receipt(device=victim.name, batch=sha256_hex(body), outcome="stored", new_samples=1)
        to = RECEIPT.topic(id=victim.name)
        victim.hear(received(to, seal(said, topic=to, key=_FORGER)))
        # One car's message under another's name, too.
        other = BATCH.topic(id=world.cars[1 - car].name)
        world.serve([(other, body)] if topic != other else [])

    @invariant()
    def what_is_marked_sent_is_stored(self) -> None:
        """Look into journals and database."""
        if self.world is None:
            return
        stored = self.world.stored()
        for car in self.world.cars:
            assert {(car.name, *key) for key in car.sent} <= stored
            assert car.rejected == 0

    def teardown(self) -> None:
        """Deliver everything, and compare."""
        if self.world is None:
            return
        try:
            assert self.world.settle(), "rows wait though everything is delivered"
            found = self.world.judge()
            assert not any(found.wrong.values()), found
            tally = self.setting.tally
            tally.runs += 1
            tally.pairs += found.pairs
            self.setting.tell(tally.runs)
        finally:
            self.world.close()


def run(stage: Stage) -> Told:
    """Let hypothesis drive, and tell what was found."""
    runs = stage.cycles or (QUICK_RUNS if stage.is_quick else RUNS)
    broken = ""
    with bar(f"hypothesis drives, {runs} runs", runs) as tell, without_log():
        setting = Machine.setting = Setting(
            template=Template(stage.folder, _CARS),
            folder=stage.folder,
            tell=lambda done: tell(min(done, runs)),
        )
        try:
            run_state_machine_as_test(seed(stage.seed)(Machine), settings=_settings(runs))
        except Exception as error:  # noqa: BLE001 - whatever a run ends with is what we look for
            # With the steps that led to it, which hypothesis adds as notes.
            broken = "".join(traceback.format_exception(error)[-_LINES:])
    made = checks(setting.tally, broken, runs)
    body = {**msgspec.to_builtins(setting.tally), "broken": broken}
    return Told(checks=made, body=body, text=_text(setting.tally, broken, made))


CHAPTER: Final = Chapter(name="machine", title="Hypothesis drives the whole fleet", run=run)


def _settings(runs: int) -> settings:
    return settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )


def checks(tally: Tally, broken: str, runs: int) -> list[Check]:
    """Return what decides; the last three tell whether enough was tried."""
    steps = sum(tally.steps.values())
    return [
        *none("machine", {"runs that broke a law": int(bool(broken))}),
        enough("machine", "runs that ended with everything stored once", tally.runs, runs),
        enough("machine", "steps", steps, 5 * runs),
        enough("machine", "steps that delivered something", _delivered(tally), runs),
    ]


def _delivered(tally: Tally) -> int:
    return sum(times for name, times in tally.steps.items() if "delivered" in name)


def _text(tally: Tally, broken: str, made: list[Check]) -> str:
    said = (
        f"{tally.runs} runs of up to {STEPS} steps over {len(_CARS)} cars; in the end "
        f"{tally.pairs:,} pairs were committed."
    )
    rows = [f"| {name} | {times:,} |" for name, times in sorted(tally.steps.items())]
    parts = [said, "\n".join(["| step | times |\n|---|---:|", *rows]), checks_table(made)]
    return "\n\n".join([*parts, *([f"```\n{broken}\n```"] if broken else [])])
