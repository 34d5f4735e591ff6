"""The real backend says what is missing."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device.hardware import open_cutoff, open_instruments
from shared.errors import HardwareError, UsageError


@pytest.mark.skipif(importlib.util.find_spec("lgpio") is not None, reason="this is a Raspberry Pi")
def test_a_missing_library_is_named_with_its_remedy() -> None:
    with pytest.raises(UsageError, match=r"lgpio.*pip install"):
        open_instruments("pi")


def test_a_wrong_configuration_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pi.toml"
    file.write_text("[pins]\nled = 99\n")
    with pytest.raises(UsageError, match=r"pi.toml.*27"):
        open_instruments("pi", file)
    with pytest.raises(UsageError, match="no hardware backend 'boat'"):
        open_instruments("boat")


_WITHOUT_RIGHTS = """
BOTH_EDGES, RISING_EDGE, FALLING_EDGE = 3, 1, 2
SET_PULL_NONE = SET_PULL_UP = SET_PULL_DOWN = 0

class error(Exception):
    pass

def gpiochip_open(chip):
    raise error("can not open gpiochip")
"""

_IN_A_FOLDER_OF_SOMEBODY_ELSE = """
open("/proc/self/no-such-folder/.lgd-nfy-3", "rb")
"""


@pytest.fixture
def a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a file in the place of lgpio, with its errors of an ill-prepared Raspberry Pi."""

    def put(text: str) -> None:
        (tmp_path / "lgpio.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        for name in ("lgpio", "gpiozero.pins.lgpio"):
            monkeypatch.delitem(sys.modules, name, raising=False)

    return put


@pytest.mark.parametrize(
    ("library", "told"),
    [(_WITHOUT_RIGHTS, "group gpio"), (_IN_A_FOLDER_OF_SOMEBODY_ELSE, "working directory")],
)
@pytest.mark.parametrize("opened", [open_instruments, open_cutoff])
def test_pins_that_this_user_cannot_have_are_told_with_their_remedy(
    a_library: Callable[[str], None], library: str, told: str, opened: Callable[[str], object]
) -> None:
    a_library(library)
    with pytest.raises(HardwareError, match=told):
        opened("pi")
    for name in ("lgpio", "gpiozero.pins.lgpio"):
        sys.modules.pop(name, None)
