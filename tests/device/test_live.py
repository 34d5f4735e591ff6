"""Live values arrive or are dropped; nobody waits for them."""

import socket
from pathlib import Path

import pytest

from device.live import Live, LiveSocket, Nudge
from shared.errors import UsageError
from shared.messages import Telemetry
from tests.device.records import BOOT

TELEMETRY = Telemetry(
    device="car-1",
    boot=BOOT,
    utc_us=1,
    state="idle",
    label=None,
    estimate=None,
    sigma=None,
    speed_mm_s=0.0,
    manoeuvre=0,
)


def test_messages_go_both_ways_even_in_a_folder_with_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    drive = LiveSocket(folder / "drive.sock", folder / "agent.sock")
    agent = LiveSocket(folder / "agent.sock", folder / "drive.sock")
    assert drive.send(Live(telemetry=TELEMETRY, logged=True))
    assert agent.send(Nudge(what="model"))
    assert agent.receive() == Live(telemetry=TELEMETRY, logged=True)
    assert drive.receive() == Nudge(what="model")
    assert drive.receive() is None
    drive.close()
    agent.close()


def test_whatever_keeps_a_message_from_going_costs_the_message_alone(tmp_path: Path) -> None:
    drive = LiveSocket(tmp_path / "drive.sock", tmp_path / "agent.sock")
    # A socket of another kind, as by another user or another program: EPROTOTYPE.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(tmp_path / "agent.sock"))
        other.listen()
        assert not drive.send(Live(telemetry=TELEMETRY))
    (tmp_path / "agent.sock").unlink()
    agent = LiveSocket(tmp_path / "agent.sock", tmp_path / "drive.sock")
    assert not drive.send(Live(telemetry=TELEMETRY, faults=("x" * 2_000_000,)))
    assert drive.send(Live(telemetry=TELEMETRY))
    agent.close()
    drive.close()


def test_without_a_reader_messages_are_dropped(tmp_path: Path) -> None:
    drive = LiveSocket(tmp_path / "drive.sock", tmp_path / "agent.sock")
    assert not drive.send(Live(telemetry=TELEMETRY))
    agent = LiveSocket(tmp_path / "agent.sock", tmp_path / "drive.sock")
    sent = [drive.send(Live(telemetry=TELEMETRY)) for _ in range(10_000)]
    assert sent[0]
    assert not sent[-1]
    agent.close()
    assert not drive.send(Live(telemetry=TELEMETRY))
    drive.close()


def test_a_file_left_by_a_killed_process_is_replaced_and_nonsense_passed_over(
    tmp_path: Path,
) -> None:
    (tmp_path / "drive.sock").write_text("left behind")
    drive = LiveSocket(tmp_path / "drive.sock", tmp_path / "agent.sock")
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for nonsense in (b"", b"\xc1", b"\x91" * 3000, b"\x81\xa4type\xa4what"):
        stranger.sendto(nonsense, str(tmp_path / "drive.sock"))
    stranger.close()
    assert drive.receive() is None
    drive.close()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot open the folder"):
        LiveSocket(tmp_path / "no" / "drive.sock", tmp_path / "no" / "agent.sock")
