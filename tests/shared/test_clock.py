"""The machine's own clock."""

import ctypes
from pathlib import Path

import pytest

from shared.clock import SystemClock


class LibC:
    """A C library whose kernel is in a given state (adjtimex(2))."""

    def __init__(self, state: int) -> None:
        self._state = state

    def adjtimex(self, timex: ctypes.Array[ctypes.c_char]) -> int:
        assert not any(timex.raw), "asked to change the clock"
        return self._state


def test_a_clock_follows_a_time_server_only_where_the_kernel_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # No mark of systemd's: chrony and ntpd leave none, running or not.
    monkeypatch.setattr("shared.clock._SYNC_MARK", tmp_path / "none")
    for state, is_synced in ((0, True), (4, True), (5, False), (-1, False)):
        monkeypatch.setattr(ctypes, "CDLL", lambda _name, state=state: LibC(state))
        assert SystemClock().is_synced() is is_synced


def test_systemds_mark_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "synchronized").touch()
    monkeypatch.setattr("shared.clock._SYNC_MARK", tmp_path / "synchronized")
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: LibC(5))
    assert SystemClock().is_synced()
