"""What the figures are worth: a fault is not met, and neither is a run without a stake."""

import random
from collections import Counter

import msgspec
import pytest

from hardware_sim.lab.report import Check
from tests.chaos import broker_kills, clocks, herd, limits, machine, network, poison, power, soak
from tests.chaos.brokers import _changed
from tests.chaos.line import Told
from tests.chaos.power_found import Tried
from tests.chaos.storage_databases import FAULTS, _Bad
from tests.chaos.verdict import Found

SOUND, LOST = Found(pairs=100), Found(pairs=100, lost=1)


def missed(checks: list[Check]) -> list[str]:
    """Return the names of figures that are not met."""
    return [each.name for each in checks if not each.met]


def returned(found: Found, *, synced_s: float = 20.0, waiting: int = 900) -> herd.Herd:
    return herd.Herd(
        cars=100,
        processes=1,
        broker="mosquitto",
        away_s=20.0,
        waiting=waiting,
        connected_s=5.0,
        synced_s=synced_s,
        course=[],
        broker_mib=1.0,
        server_mib=1.0,
        found=found,
    )


def test_a_herd_that_is_late_or_lost_a_pair_or_had_nothing_to_send_is_not_met() -> None:
    assert missed(herd.checks(returned(SOUND))) == []
    assert len(missed(herd.checks(returned(LOST)))) == 1
    assert len(missed(herd.checks(returned(SOUND, synced_s=121.0)))) == 1
    assert len(missed(herd.checks(returned(SOUND, waiting=0)))) == 1


def test_weather_that_left_no_trace_is_not_met() -> None:
    def report(done: Told) -> network.Report:
        tried = [
            network.Tried(
                weather=name,
                side="car",
                connections=done.connections,
                resets=done.resets,
                dumb=done.dumb,
                lost=done.lost,
                given_up=0,
                bytes=done.bytes_up,
                waiting=10,
                synced_s=1.0,
                course=[],
            )
            for name in network.WEATHERS
        ]
        return network.Report(broker="mosquitto", fault_s=1.0, tried=tried, found=SOUND)

    assert missed(network.checks(report(Told(resets=1, dumb=1, lost=1, bytes_up=1)))) == []
    (name,) = missed(network.checks(report(Told(resets=0, dumb=1, lost=1, bytes_up=1))))
    assert name == "network: weathers that did nothing"


def test_a_limit_that_was_never_hit_is_not_met() -> None:
    def report(signs: int) -> limits.Report:
        tried = [limits.Tried(limit="few", signs=signs, waiting=1, synced_s=1.0)]
        return limits.Report(fault_s=1.0, tried=tried, meddled={"messages": 0}, found=SOUND)

    assert missed(limits.checks(report(3))) == []
    assert missed(limits.checks(report(0))) == ["limits: limits that were never hit"]


@pytest.mark.parametrize(("found", "slow_s", "faults"), [(SOUND, 0.2, 0), (LOST, 1.2, 2)])
def test_poison_that_stops_the_next_message_for_a_second_is_not_met(
    found: Found, slow_s: float, faults: int
) -> None:
    report = poison.Report(
        broker="mosquitto",
        at_server_s=[("empty", 0.1), ("rubbish", slow_s)],
        at_car_s=[("wish", 0.1)],
        floods=[],
        found=found,
    )
    assert len(missed(poison.checks(report))) == faults


def test_kills_of_an_idle_broker_are_not_met() -> None:
    def lane(under_way: int) -> broker_kills.Killed:
        kills = [
            broker_kills.Kill(
                second=1.0, was_connected=True, is_wiped=n % 2 == 0, waiting=5, under_way=under_way
            )
            for n in range(8)
        ]
        return broker_kills.Killed(
            broker="mosquitto", kills=kills, synced_s=1.0, seconds=9.0, found=SOUND
        )

    assert missed(broker_kills.checks([lane(2)])) == []
    assert len(missed(broker_kills.checks([lane(0)]))) == 1


def test_one_bare_car_in_thousands_of_power_cuts_is_not_met() -> None:
    tried = [Tried(what=name, states=100, unsure=80) for name in "abcd"]
    assert missed(power.checks(tried)) == []
    tried[2].bare = 1
    assert missed(power.checks(tried)) == ["power: cars without a model that loads"]


def test_clocks_that_fool_a_car_or_lock_it_out_are_not_met() -> None:
    pairs = clocks.Pairs(jumps=10, disordered=0, mislabelled=0, found=SOUND)
    trust = clocks.Trust(days=10, earlier_shown=5, wrong_clocks=8)
    assert missed(clocks.checks(pairs, trust)) == []
    trust.fooled = trust.locked_out = 1
    assert len(missed(clocks.checks(pairs, trust))) == 2


def test_a_run_of_the_machine_that_broke_a_law_is_not_met() -> None:
    tally = machine.Tally(runs=10, steps={"all delivered": 60})
    assert missed(machine.checks(tally, "", 10)) == []
    assert missed(machine.checks(tally, "AssertionError", 10)) == ["machine: runs that broke a law"]


def soaked(mib_a_minute: float, handles: int) -> soak.Soaked:
    seconds = [float(n) for n in range(300)]
    # A jump in the warm-up is no slope.
    memory = [(100.0 if n >= 60 else 50.0) + mib_a_minute * n / 60 for n in range(300)]
    course = soak.Course(
        name="server",
        seconds=seconds,
        memory_mib=memory,
        handles=[20] * 200 + [20 + handles] * 100,
        warm_s=120.0,
    )
    return soak.Soaked(minutes=5.0, manoeuvres=100, courses=[course], found=SOUND)


def test_a_step_of_memory_is_no_leak_and_steps_without_end_are_one() -> None:
    seconds = [float(n) for n in range(300)]
    once = [100.0 if n < 170 else 106.0 for n in range(300)]
    ever = [100.0 + 1.5 * (n // 20) for n in range(300)]
    slopes = [
        soak.Course(
            name="server", seconds=seconds, memory_mib=each, handles=[20] * 300, warm_s=120.0
        ).slope_mib_a_minute
        for each in (once, ever)
    ]
    assert slopes[0] < 0.1
    assert slopes[1] == pytest.approx(4.5, rel=0.1)


def test_a_soak_that_is_all_warm_up_tells_no_slope() -> None:
    short = msgspec.structs.replace(soaked(9.0, 2), minutes=0.5)
    assert missed(soak.checks(short)) == []


def test_a_leak_of_memory_or_files_is_found_and_a_warm_up_is_none() -> None:
    assert missed(soak.checks(soaked(0.5, 2))) == []
    assert soaked(0.5, 2).courses[0].slope_mib_a_minute == pytest.approx(0.5)
    assert missed(soak.checks(soaked(3.5, 2))) == ["soak: memory slope of server"]
    assert len(missed(soak.checks(soaked(0.5, 9)))) == 1


def test_a_bad_disk_fails_and_works_in_turns_and_only_in_its_own_way() -> None:
    for fault, (kind, code) in FAULTS.items():
        bad = _Bad(fault, random.Random(1))
        assert bad("truncate", "a") == 0
        codes = Counter(bad(kind, "a") for _ in range(4000))
        assert codes.keys() == {0, code}
        assert 1000 < codes[0] < 3000


def test_a_changed_configuration_holds_each_option_once() -> None:
    written = "listener 1883\nmax_queued_messages 10000\nlog_type error\nlog_type notice\n"
    lines = _changed(written, {"max_queued_messages": "1", "log_type": "all"})
    assert [line for line in lines if line != "user root"] == [
        *("listener 1883", "max_queued_messages 1", "log_type all")
    ]
