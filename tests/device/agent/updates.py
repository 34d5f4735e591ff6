"""What a car is told and does during an update, step by step, for the tests of updates."""

from device.agent.effects import (
    Effect,
    ProbeEnded,
    Subscribe,
    ToDrive,
)
from device.journal import DriveState
from device.update import saved as update
from device.update.saved import Saved
from shared import codec
from shared.ids import sha256_hex
from shared.messages import UpdateEvent
from shared.mqtt_events import Connected
from shared.samples import Estimate
from shared.topics import RELEASE_TARGET, UPDATE
from tests.device.agent.world import (
    MODEL,
    SECOND,
    Car,
    Fleet,
    published,
)
from tests.device.records import manoeuvre_end, sample

SHA = sha256_hex(MODEL)


def state(car: Car) -> Saved:
    """Return what lies in the journal, which is what a start would find."""
    return update.load(car.journal.update_state())


def events(effects: list[Effect]) -> list[UpdateEvent]:
    return [
        codec.decode(UpdateEvent, each.payload, limit_bytes=UPDATE.limit_bytes)
        for each in published(effects, UPDATE)
    ]


def asked(effects: list[Effect]) -> list[int]:
    found = []
    for effect in effects:
        if isinstance(effect, Subscribe):
            parts = RELEASE_TARGET.parts(effect.topic_filter)
            found += [int(parts["n"])] if parts else []
    return found


def fetch_all(car: Car, model: bytes = MODEL) -> list[Effect]:
    effects: list[Effect] = []
    for piece in car.pieces(model):
        effects += car.agent.handle(piece)
    return effects


def passed(target: str, **evidence: float) -> ProbeEnded:
    return ProbeEnded(target=target, reason="", evidence=evidence)


def install(car: Car, target: str, model: bytes = MODEL, *, revision: int = 1) -> list[Effect]:
    """Bring a released model all the way into the active slot."""
    car.agent.handle(Connected())
    car.metadata()
    car.wish(target, revision=revision)
    fetch_all(car, model)
    return car.agent.handle(passed(target))


NEW = b"new" * 6_000
SHA_NEW = sha256_hex(NEW)


def shadow(car: Car, fleet: Fleet) -> str:
    """Bring a candidate beside a model in service that has passed its probation."""
    first = fleet.release()
    install(car, first)
    drive(car, SHA, 20, first=1, **{SHA: 6.0})
    assert state(car).probation is None
    candidate = fleet.release(NEW, release_seq=2)
    car.metadata()
    car.wish(first, revision=2, candidate=candidate)
    fetch_all(car, NEW)
    effects = car.agent.handle(passed(candidate))
    assert ToDrive(what="model") in effects
    assert state(car).state == "shadowing"
    return candidate


def drive(car: Car, loaded: str, count: int, *, first: int, **errors: float) -> list[Effect]:
    """Log `count` manoeuvres driven by `loaded`, in which models err by so much; judge each."""
    models = [loaded, *(model for model in errors if model != loaded)]
    boot = "00000001-00000000"
    car.journal.set_drive_state(
        DriveState(boot=boot, loaded=loaded, release_seq=1, state="idle", utc_us=1)
    )
    effects: list[Effect] = []
    for number in range(first, first + count):
        samples = [
            sample(
                100 * number + n,
                boot=boot,
                manoeuvre=number,
                estimates=tuple(Estimate(model=m, value=100.0 + errors[m]) for m in models),
            )
            for n in range(4)
        ]
        car.journal.append(
            samples=[(each, None) for each in samples],
            manoeuvres=[manoeuvre_end(number, boot=boot, pairs=4)],
        )
        car.clock.now_us += SECOND
        effects += car.agent.tick()
    return effects


def commit(car: Car, fleet: Fleet) -> str:
    candidate = shadow(car, fleet)
    drive(car, SHA, 9, first=30, **{SHA: 45.0, SHA_NEW: 6.0})
    return candidate


def rolled_back(car: Car, effects: list[Effect]) -> UpdateEvent:
    told = events(effects)[-1]
    assert told.state == "rolled_back"
    assert told.model == SHA_NEW
    assert (car.journal.active_model(), car.journal.shadow_model()) == (SHA, None)
    assert ToDrive(what="model") in effects
    return told
