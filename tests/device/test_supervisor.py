"""Whatever becomes of the process that drives, the motors are cut."""

import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.supervisor import MOVING, STANDING, Heart, Watch, supervise
from shared.clock import SystemClock
from shared.errors import HardwareError

_BEATS = """
import os, sys, time
beats, kind, then = int(sys.argv[-1]), sys.argv[1].encode(), sys.argv[2]
for _ in range(10):
    os.write(beats, kind)
    time.sleep(0.02)
if then == "die":
    os.kill(os.getpid(), 9)
while then == "hang":
    time.sleep(1)
sys.exit(int(then))
"""


@dataclass
class Pins:
    """Motors that can be cut, and who was told what."""

    fails: bool = False
    cuts_us: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def cut(self) -> None:
        self.cuts_us.append(SystemClock().monotonic_us())
        if self.fails:
            raise HardwareError("no pins")

    def close(self) -> None:
        pass

    def tell(self, what: str) -> None:
        self.told.append(what)


def child(kind: str, then: str) -> list[str]:
    return [sys.executable, "-c", _BEATS, kind, then]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("then", "code"),
    [("die", 1), ("0", 0), ("2", 2), ("hang", 1)],
    ids=["kill", "ok", "use", "hang"],
)
def test_however_the_driving_process_ends_the_motors_are_cut(then: str, code: int) -> None:
    pins = Pins()
    assert supervise(child("M", then), pins, SystemClock(), pins, stop=lambda: False) == code
    assert len(pins.cuts_us) == 1
    assert pins.told[0] == "READY=1"
    assert set(pins.told[1:]) <= {"WATCHDOG=1"}


@pytest.mark.e2e
@pytest.mark.parametrize("then", ["die", "hang"])
def test_the_motors_are_cut_before_a_word_is_logged(then: str) -> None:
    pins = Pins()
    cuts_when_logged: dict[str, int] = {}

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            cuts_when_logged[record.getMessage()] = len(pins.cuts_us)

    log = logging.getLogger("device.supervisor")
    listening = Listening()
    log.addHandler(listening)
    try:
        supervise(child("M", then), pins, SystemClock(), pins, stop=lambda: False)
    finally:
        log.removeHandler(listening)
    assert cuts_when_logged
    assert set(cuts_when_logged.values()) == {1}


@pytest.mark.e2e
def test_pins_that_cannot_be_reached_do_not_hide_how_the_process_ended() -> None:
    pins = Pins(fails=True)
    assert supervise(child("M", "die"), pins, SystemClock(), pins, stop=lambda: False) == 1
    assert len(pins.cuts_us) == 1


@pytest.mark.e2e
def test_asked_to_stop_it_asks_the_driving_process_and_takes_its_exit_code() -> None:
    pins = Pins()
    code = supervise(
        child("S", "hang"), pins, SystemClock(), pins, stop=lambda: "WATCHDOG=1" in pins.told
    )
    assert (code, len(pins.cuts_us)) == (1, 1)
    assert pins.told[-1] == "STOPPING=1"


@pytest.mark.e2e
@pytest.mark.parametrize("victim", ["supervisor", "drive"])
def test_killed_one_of_the_two_takes_the_other_along(tmp_path: Path, victim: str) -> None:
    parkfleet = str(Path(sys.executable).with_name("parkfleet"))
    command = [parkfleet, "--log-level", "info", "device", "drive", "--backend", "sim"]
    with subprocess.Popen(
        [*command, "--home", str(tmp_path)], stderr=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stderr is not None
        for line in supervisor.stderr:
            if "drive_started" in line:
                break
        driving = _child_of(supervisor.pid)
        os.kill(driving if victim == "drive" else supervisor.pid, signal.SIGKILL)
        # The pipe ends when neither of them lives any more.
        rest = supervisor.stderr.read()
        supervisor.wait(20)
    assert ("motors=cut" if victim == "drive" else "supervisor_gone") in rest
    assert not Path(f"/proc/{driving}").exists() or _is_zombie(driving)


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _is_zombie(pid: int) -> bool:
    # Its parent was killed, and whoever adopts orphans here may take its time.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_moving_car_may_be_silent_only_as_long_as_a_picture_may_be_old() -> None:
    moving = Watch(heard_us=0).beaten(STANDING + MOVING, 1_000_000)
    assert moving.verdict(1_150_000) == ""
    assert "moving" in moving.verdict(1_150_001)
    standing = moving.beaten(MOVING + STANDING, 2_000_000)
    assert standing.verdict(21_000_000) == ""
    assert standing.verdict(22_000_001) != ""


@given(
    st.lists(st.tuples(st.sampled_from([MOVING, STANDING]), st.integers(1, 150_000)), max_size=50)
)
def test_who_beats_in_time_is_never_killed(beats: list[tuple[bytes, int]]) -> None:
    watch, now_us = Watch(heard_us=0), 0
    for beat, after_us in beats:
        now_us += after_us
        assert watch.verdict(now_us) == ""
        watch = watch.beaten(beat, now_us)


def test_who_was_asked_to_end_and_goes_on_beating_is_killed() -> None:
    watch = Watch(heard_us=0).asked(1_000_000).asked(9_000_000)
    assert watch.beaten(STANDING, 10_900_000).verdict(11_000_000) == ""
    assert watch.beaten(STANDING, 11_000_000).verdict(11_000_001) == "asked to end, and went on"


def test_a_heart_that_nobody_hears_says_so_and_one_that_is_read_late_does_not_wait() -> None:
    heard, beats = os.pipe()
    os.set_blocking(beats, False)
    heart = Heart(beats)
    for _ in range(70_000):
        heart.beat(is_moving=True)
    assert heart.is_heard is True
    os.close(heard)
    heart.beat(is_moving=True)
    heard_by = [heart.is_heard]
    assert heard_by == [False]
    os.close(beats)
