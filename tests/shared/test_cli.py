"""The command line: every mistake is one line and exit code 2."""

import json
import logging
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

import click
import msgspec
import pytest

from shared import __version__, cli
from shared.errors import RefusedError, RetryLaterError, UsageError


@pytest.fixture(autouse=True)
def _quiet_logs() -> Iterator[None]:
    """Undo what the command line does to logging, so that tests do not see each other."""
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for room in ("shared", "device", "fleet_server", "trainer", "hardware_sim"):
        logging.getLogger(room).setLevel(logging.NOTSET)


def install(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Make `value` the one verb there is."""
    entry = EntryPoint(name=name, value=value, group="parkfleet.verbs")
    monkeypatch.setattr(cli, "entry_points", lambda **_: (entry,))


@click.command(epilog="Example: parkfleet demo")
@click.option(
    "--fail",
    type=click.Choice(["usage", "refused", "later", "ctrl-c", "bug", "library", "room", "none"]),
)
@cli.json_option
def example(*, fail: str, as_json: bool) -> None:
    """Fail as told."""
    errors: dict[str, BaseException] = {
        "usage": UsageError("no such folder:\n  give another"),
        "refused": RefusedError("bad signature"),
        "later": RetryLaterError("network away"),
        "ctrl-c": KeyboardInterrupt(),
        "bug": ZeroDivisionError("ours"),
        "library": ModuleNotFoundError("No module named 'big.library'", name="big.library"),
        "room": ModuleNotFoundError("No module named 'tests.gone'", name="tests.gone"),
    }
    if fail in errors:
        raise errors[fail]
    cli.emit({"b": 1, "a": [2]}, as_json=as_json, text="two lines\nfor people")


HERE = f"{__name__}:example"


@pytest.mark.parametrize(
    ("fail", "code", "line"),
    [
        ("usage", 2, "parkfleet: no such folder: give another\n"),
        ("refused", 1, "parkfleet: bad signature\n"),
        ("later", 1, "parkfleet: network away\n"),
    ],
)
def test_a_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fail: str,
    code: int,
    line: str,
) -> None:
    install(monkeypatch, "demo", HERE)
    assert cli.run(["demo", "--fail", fail]) == code
    assert capsys.readouterr().err == line


def test_ctrl_c_is_130_and_a_bug_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "demo", HERE)
    assert cli.run(["demo", "--fail", "ctrl-c"]) == 130
    with pytest.raises(ZeroDivisionError):
        cli.run(["demo", "--fail", "bug"])


def test_json_is_one_object_in_one_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, "demo", HERE)
    assert cli.run(["demo", "--json"]) == 0
    assert capsys.readouterr().out == '{"a":[2],"b":1}\n'
    assert cli.run(["demo"]) == 0
    assert capsys.readouterr().out == "two lines\nfor people\n"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["demo", "--nonsense"], ["demo", "--fail", "x"], ["--log-level", "x"]],
)
def test_wrong_use_ends_with_2_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    install(monkeypatch, "demo", HERE)
    assert cli.run(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("parkfleet: ")
    assert said.endswith("--help')\n")
    assert said.count("\n") == 1


def test_a_verb_is_asked_for_with_the_help_as_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run([]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("Usage: parkfleet")
    assert "\n  demo " in shown.err


@pytest.mark.parametrize(
    ("verb", "extra"), [("device", "device"), ("server", "server"), ("trainer", "trainer")]
)
def test_a_missing_library_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, extra: str
) -> None:
    install(monkeypatch, verb, "tests.shared.needs_what_is_missing:verb")
    assert cli.run([verb]) == 2
    assert capsys.readouterr().err == (
        f"parkfleet: '{verb}' needs no_such_library, which is not installed here: "
        f"pip install 'parkfleet[{extra}]'\n"
    )


def test_a_library_that_is_missed_only_at_work_names_the_extra_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, "trainer", HERE)
    assert cli.run(["--log-level", "info", "trainer", "--fail", "library"]) == 2
    assert capsys.readouterr().err == (
        "parkfleet: 'trainer' needs big.library, which is not installed here: "
        "pip install 'parkfleet[trainer]'\n"
    )
    with pytest.raises(ModuleNotFoundError):
        cli.run(["trainer", "--fail", "room"])


def test_a_verb_that_lacks_our_own_module_is_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "device", "tests.shared.gone:verb")
    with pytest.raises(ModuleNotFoundError):
        cli.run(["device"])


def test_every_installed_verb_is_listed_and_every_listed_verb_installed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed = {entry.name for entry in entry_points(group="parkfleet.verbs")}
    assert set(cli._SUMMARIES) == installed
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in installed:
        assert f"\n  {name} " in shown


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_emit_takes_structs(capsys: pytest.CaptureFixture[str]) -> None:
    class Result(msgspec.Struct):
        met: bool

    cli.emit(Result(met=True), as_json=True, text="")
    assert json.loads(capsys.readouterr().out) == {"met": True}
