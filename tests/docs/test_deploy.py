"""What a person with a Raspberry Pi follows: the page, the units and the pins say the same."""

import configparser
import re
import shlex
import tomllib
from pathlib import Path

import click
import msgspec
import pytest

from device.cli import device
from device.drivers.gpio import Pins
from device.drivers.pi import PiConfiguration

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
PAGE = (DEPLOY / "raspberry-pi.md").read_text()
HOME = "/var/lib/parkfleet"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def _service(unit: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # keys keep their case
    parser.read_string(unit.read_text())
    return parser["Service"]


def _options(words: list[str]) -> set[str]:
    """Return the options of the `device` command that `words` begin with, proven to exist."""
    command = device.commands[words[0]]
    known = {name for each in command.params for name in each.opts}
    given = {word for word in words[1:] if word.startswith("--")}
    assert given <= known, words
    assert not any(isinstance(each, click.Argument) for each in command.params)
    return given


@pytest.mark.parametrize("unit", UNITS, ids=lambda each: each.name)
def test_a_unit_runs_in_the_cars_home_where_lgpio_may_make_its_pipe(unit: Path) -> None:
    service = _service(unit)
    assert f"/var/lib/{service['StateDirectory']}" == service["WorkingDirectory"] == HOME
    for key in ("ExecStart", "ExecStopPost"):
        if key in service:
            program, verb, *words = shlex.split(service[key])
            assert (program, verb) == ("/opt/parkfleet/bin/parkfleet", "device")
            assert "--home" in _options(words)
            assert words[words.index("--home") + 1] == HOME


def test_every_command_of_the_page_exists() -> None:
    told = re.findall(r"^car ([a-z].*?)(?:\s+#.*)?$", PAGE, re.MULTILINE)
    assert {line.split()[0] for line in told} == {"selftest", "calibrate", "enrol"}
    for line in told:
        _options(shlex.split(line))
    assert f"--home {HOME}" in PAGE


def test_pins_are_told_as_they_are_wired_and_pulled_down() -> None:
    pins = Pins()
    numbers = [
        int(number)
        for row in re.findall(r"^\|((?:[^|\n]*\|){2,})$", PAGE, re.MULTILINE)
        for number in re.findall(r"(?<![\w.*])\d+(?=\s*\|)", row)
    ]
    assert set(msgspec.structs.astuple(pins)) <= set(numbers)
    pulled = re.search(r"^gpio=([\d,]+)=ip,pd$", (DEPLOY / "config.txt").read_text(), re.MULTILINE)
    assert pulled is not None
    motors = {pins.left_phase, pins.left_enable, pins.right_phase, pins.right_enable}
    assert {int(each) for each in pulled[1].split(",")} == motors


def test_the_wiring_shown_is_one_that_loads() -> None:
    (shown,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    wired = msgspec.convert(tomllib.loads(shown), PiConfiguration)
    assert msgspec.structs.replace(wired, pins=Pins()) == PiConfiguration()
    assert wired.pins.led == 22
