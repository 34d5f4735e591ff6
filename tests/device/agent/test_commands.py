"""Operators' commands: what each needs, and what becomes of it."""

import msgspec
import pytest

from device.agent.commands import MOST_PICTURES, CommandJudge, Situation, Verb, picture_keys
from device.agent.effects import Effect, SelftestEnded, StartSelftest, ToDrive
from device.live import Live
from shared import codec
from shared.errors import RefusedError
from shared.messages import Command, CommandResult, Telemetry
from shared.mqtt_events import Connected
from shared.topics import COMMAND, RESULT
from tests.device.agent.test_session import batches, receipt
from tests.device.agent.world import DEVICE, SECOND, Car, Fleet, enrolled_home, published
from tests.device.records import BOOT, JPEG, sample

READY = Situation(boot=BOOT, connection=3, drive_answers=True, is_armed=True)
VERBS: tuple[Verb, ...] = ("park", "stop", "sync", "pictures", "selftest", "identify")


def command(verb: Verb, *, number: int = 1, **changes: object) -> Command:
    made = Command(device=DEVICE, actor="alice", boot=BOOT, connection=3, number=number, verb=verb)
    return msgspec.structs.replace(made, **changes)


def telemetry(state: str = "idle") -> Telemetry:
    return Telemetry(
        device=DEVICE,
        boot=BOOT,
        utc_us=1,
        state=state,
        label=None,
        estimate=None,
        sigma=None,
        speed_mm_s=0.0,
        manoeuvre=1,
    )


def say(car: Car, state: str = "idle", *, armed_age_us: int | None = None) -> None:
    """Let drive say that the car is in `state`."""
    car.agent.live(Live(telemetry=telemetry(state), armed_age_us=armed_age_us))


def order(car: Car, verb: Verb, *, number: int = 1, **changes: object) -> list[Effect]:
    where = {"boot": car.presences.boot, "connection": car.presences.connection}
    made = command(verb, number=number, **(where | changes))
    return car.hear(COMMAND, made, id=DEVICE, actor=made.actor)


def result(effects: list[Effect]) -> CommandResult:
    (said,) = published(effects, RESULT)
    return codec.decode(CommandResult, said.payload, limit_bytes=RESULT.limit_bytes)


@pytest.mark.parametrize(
    ("situation", "obeyed"),
    [
        (READY, set(VERBS)),
        (Situation(boot=BOOT, connection=3), {"stop", "sync", "pictures", "selftest"}),
        (
            Situation(boot=BOOT, connection=3, drive_answers=True, is_moving=True, is_armed=True),
            {"stop", "sync", "pictures"},
        ),
        (Situation(boot=BOOT, connection=3, drive_answers=True), set(VERBS) - {"park"}),
        (Situation(boot=BOOT, connection=4, drive_answers=True, is_armed=True), {"stop"}),
    ],
)
def test_each_verb_is_obeyed_only_where_its_needs_are_met(
    situation: Situation, obeyed: set[str]
) -> None:
    refusals = {
        verb: CommandJudge().judge(command(verb), situation, retained=False) for verb in VERBS
    }
    assert {verb for verb, refusal in refusals.items() if not refusal} == obeyed


def test_a_number_counts_once_for_each_operator() -> None:
    judge = CommandJudge()
    assert judge.judge(command("sync", number=5), READY, retained=False) == ""
    assert "used already" in judge.judge(command("park", number=5), READY, retained=False)
    assert "used already" in judge.judge(command("park", number=4), READY, retained=False)
    assert judge.judge(command("park", number=4, actor="bob"), READY, retained=False) == ""
    assert judge.judge(command("stop", number=4), READY, retained=True) == ""


def test_a_car_parks_within_a_minute_of_a_press_at_it(car: Car) -> None:
    car.agent.handle(Connected())
    say(car)
    assert "nobody pressed" in result(order(car, "park", number=1)).reason
    say(car, armed_age_us=59 * SECOND)
    effects = order(car, "park", number=2)
    assert effects[0] == ToDrive(what="park")
    assert result(effects).outcome == "done"
    car.clock.now_us += 2 * SECOND
    assert "nobody pressed" in result(order(car, "park", number=3)).reason


def test_what_drive_said_long_ago_is_no_ground_to_move(car: Car) -> None:
    car.agent.handle(Connected())
    say(car, armed_age_us=0)
    car.clock.now_us += 4 * SECOND
    assert "does not answer" in result(order(car, "park")).reason


@pytest.mark.parametrize("state", ["armed", "reversing", "holding"])
@pytest.mark.parametrize("verb", ["park", "identify", "selftest"])
def test_what_disrupts_is_vetoed_while_the_car_moves(car: Car, verb: Verb, state: str) -> None:
    car.agent.handle(Connected())
    say(car, state, armed_age_us=0)
    effects = order(car, verb)
    said = result(effects)
    assert (said.outcome, said.reason) == ("refused", "the car is in a manoeuvre")
    assert len(effects) == 1


def test_stop_goes_through_in_any_state_and_sync_does_not_wait_for_a_stand(car: Car) -> None:
    car.agent.handle(Connected())
    say(car, "reversing")
    assert order(car, "stop", boot="00000009-00000009")[0] == ToDrive(what="stop")
    assert result(order(car, "sync")).outcome == "done"


def test_identify_goes_to_drive(car: Car) -> None:
    car.agent.handle(Connected())
    say(car)
    assert order(car, "identify")[0] == ToDrive(what="identify")


def test_a_selftest_is_answered_when_it_ended_and_runs_alone(car: Car) -> None:
    car.agent.handle(Connected())
    assert order(car, "selftest", number=1) == [StartSelftest(actor="alice", number=1)]
    assert "under way" in result(order(car, "selftest", number=2)).reason
    ended = SelftestEnded(actor="alice", number=1, passed=False, reason="camera: black")
    said = result(car.agent.handle(ended))
    assert (said.number, said.outcome, said.reason) == (1, "failed", "camera: black")
    assert order(car, "selftest", number=3) == [StartSelftest(actor="alice", number=3)]


def test_pictures_that_the_server_did_not_want_are_sent_when_asked_for(car: Car) -> None:
    car.wish(None, upload="characteristics")
    car.journal.append(samples=[(sample(n), JPEG) for n in range(4)])
    car.agent.handle(Connected())
    ((digest, first),) = batches(car, car.agent.tick())
    assert (len(first.samples), first.pictures) == (4, ())
    receipt(car, digest)
    said = result(order(car, "pictures", arguments={BOOT: "1-2, 9"}))
    assert said.outcome == "done"
    assert said.reason.startswith("2 of 3 wait here")
    ((digest, asked),) = batches(car, car.agent.tick())
    assert [p.sequence for p in asked.pictures] == [1, 2]
    receipt(car, digest)
    assert batches(car, car.agent.tick()) == []


def test_pictures_asked_for_stay_where_the_owner_keeps_them(
    tmp_path_factory: pytest.TempPathFactory, fleet: Fleet
) -> None:
    home = enrolled_home(tmp_path_factory.mktemp("home") / "c", fleet)
    car = Car(home=home, fleet=fleet, clock=fleet.clock, owner_level="characteristics")
    car.journal.append(samples=[(sample(1), JPEG)])
    car.agent.handle(Connected())
    said = result(order(car, "pictures", arguments={BOOT: "1"}))
    assert said.outcome == "refused"
    assert said.reason == "the owner lets no picture leave: characteristics"
    assert [batch.pictures for _, batch in batches(car, car.agent.tick())] == [()]
    car.journal.close()


def test_pictures_captured_below_pictures_stay_when_asked_for_later(car: Car) -> None:
    car.wish(None, upload="characteristics")
    car.journal.append(samples=[(sample(1), JPEG)], consent="characteristics")
    car.agent.handle(Connected())
    said = result(order(car, "pictures", arguments={BOOT: "1"}))
    assert (said.outcome, said.reason[:9]) == ("refused", "0 of 1 wa")
    assert [batch.pictures for _, batch in batches(car, car.agent.tick())] == [()]


def test_picture_keys_are_sequences_and_spans() -> None:
    keys = picture_keys({BOOT: "3, 7,10-12", "00000002-0a0b0c0d": "0"})
    assert keys == [(BOOT, n) for n in (3, 7, 10, 11, 12)] + [("00000002-0a0b0c0d", 0)]
    assert len(picture_keys({BOOT: f"1-{MOST_PICTURES}"})) == MOST_PICTURES


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"boot": "1"},
        {BOOT: ""},
        {BOOT: "2-1"},
        {BOOT: "-3"},
        {BOOT: "x"},
        {BOOT: "\u0663"},
        {BOOT: "1-999999999999999"},
        {BOOT: f"1-{MOST_PICTURES},7777"},
    ],
)
def test_nonsense_names_no_pictures(arguments: dict[str, str]) -> None:
    with pytest.raises(RefusedError):
        picture_keys(arguments)
