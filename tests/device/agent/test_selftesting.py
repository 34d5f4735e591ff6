"""The self-test in a process of its own."""

from pathlib import Path

import pytest

from device.agent.child import Ended
from device.agent.effects import SelftestEnded, StartSelftest
from device.agent.selftesting import SELFTEST_LIMIT_US, SelftestProcess, outcome_of
from device.home import Home
from shared.clock import SystemClock
from tests.device.agent.world import SettableClock

WANTED = StartSelftest(actor="alice", number=7)


def finish(process: SelftestProcess) -> SelftestEnded:
    clock = SystemClock()
    while (ended := process.poll()) is None:
        clock.sleep_until_us(clock.monotonic_us() + 20_000)
    return ended


@pytest.mark.e2e
def test_what_fails_is_named_in_the_answer(tmp_path: Path) -> None:
    home = Home(tmp_path / "car")
    home.create()
    home.settings_file.write_text('backend = "boat"\n')
    ended = finish(SelftestProcess(home, WANTED, SystemClock()))
    assert (ended.actor, ended.number, ended.passed) == ("alice", 7, False)
    assert 0 < len(ended.reason) <= 200


def test_a_machine_that_gives_no_process_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "missing"))
    ended = finish(SelftestProcess(Home(tmp_path), WANTED, SettableClock()))
    assert not ended.passed
    assert "cannot start a process" in ended.reason


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended(None), ("failed", f"no answer within {SELFTEST_LIMIT_US // 1_000_000} s")),
        (Ended(-9, b""), ("failed", "the self-test gave no report and ended -9")),
        (
            Ended(0, b'{"passed": true, "checks": [{"name": "disk", "verdict": "pass"}]}'),
            ("done", "1 passed, 0 skipped"),
        ),
        (
            Ended(
                1,
                b'{"passed": false, "checks": [{"name": "x", "verdict": "fail",'
                b' "detail": "gone"}]}',
            ),
            ("failed", "x: gone"),
        ),
    ],
)
def test_the_childs_report_becomes_one_line(ended: Ended, outcome: tuple[str, str]) -> None:
    assert outcome_of(ended) == outcome
