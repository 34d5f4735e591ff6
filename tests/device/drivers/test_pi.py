"""The real backend says what is missing."""

import importlib.util
from pathlib import Path

import pytest

from device.hardware import open_instruments
from shared.errors import UsageError


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
