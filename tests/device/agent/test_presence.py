"""Connection numbers."""

from pathlib import Path

import pytest

from device.agent.presence import Presences
from shared import codec
from shared.errors import UsageError
from shared.messages import Presence
from shared.mqtt import Will

BOOT = "00000001-00000000"


def number(will: Will) -> int:
    return codec.decode(Presence, will.payload, limit_bytes=1024).connection


def test_a_number_is_never_used_twice_over_any_number_of_restarts(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(3):
        presences = Presences(tmp_path / "connections", device="car-1", boot=BOOT)
        seen += [number(presences.will()) for _ in range(1500)]
    assert seen == sorted(set(seen))


def test_the_last_will_and_the_greeting_name_the_same_connection(tmp_path: Path) -> None:
    presences = Presences(tmp_path / "connections", device="car-1", boot=BOOT)
    will = presences.will()
    assert number(will) == number(presences.say(online=True)) == presences.connection
    assert codec.decode(Presence, will.payload, limit_bytes=1024).online is False


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "connections").write_text("seven")
    with pytest.raises(UsageError, match="holds no number"):
        Presences(tmp_path / "connections", device="car-1", boot=BOOT)
