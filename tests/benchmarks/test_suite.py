"""Runs are joined by their medians, and the command refuses what it cannot use before it starts."""

from pathlib import Path

import msgspec
import pytest

from hardware_sim.lab.report import Check
from shared import cli
from shared.errors import RefusedError
from tests.benchmarks import __main__ as command
from tests.benchmarks import report
from tests.benchmarks.report import Taken
from tests.benchmarks.scaling import Curve
from tests.benchmarks.suite import BENCHES, Bench, Printed, joined

FOLDER = Path(__file__).parent


def _check(value: float, name: str = "waits") -> Check:
    return Check(name=name, value=value, unit="ms", limit=10, better="lower")


def _run(value: float) -> Printed:
    curve = Curve(name="c", x="cars", y="s", points=((1.0, value), (2.0, 2 * value)))
    return Printed(checks=(_check(value),), curves=(curve,))


def test_of_several_runs_the_median_counts() -> None:
    made = joined([_run(9.0), _run(1.0), _run(2.0)], 3)
    assert made.checks[0].value == 2.0
    assert made.curves[0].points == ((1.0, 2.0), (2.0, 4.0))


def test_one_run_is_its_own_median() -> None:
    assert joined([_run(9.0)], 1) == _run(9.0)


@pytest.mark.parametrize(
    "runs",
    [[], [_run(1.0)], [_run(1.0), Printed(checks=(_check(1.0, "other"),))]],
)
def test_runs_that_are_missing_or_differ_are_refused(runs: list[Printed]) -> None:
    with pytest.raises(RefusedError):
        joined(runs, 2)


def test_recordings_go_to_whoever_takes_them_and_to_nobody_else() -> None:
    folder = Path("somewhere")
    asked = {
        each.name: "somewhere" in each.words(is_quick=False, recorded=folder) for each in BENCHES
    }
    assert [name for name, has in asked.items() if has] == ["bench_worth"]


def test_every_benchmark_is_in_the_suite_and_the_other_way_round() -> None:
    files = {each.stem for each in FOLDER.glob("bench_*.py")}
    named = {each.name for each in BENCHES if not each.module}
    assert files <= named
    assert [name for name in named if not (FOLDER / f"{name}.py").is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bench", "weather"], "weather"),
        (["--out", "/proc/nowhere"], "cannot make the folder /proc/nowhere"),
        (["--readme"], "run `make bench` without QUICK first"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments, command.bench, "python -m tests.benchmarks") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_report_has_the_targets_and_what_the_contract_asks_for(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    out.mkdir()
    found = command.Found(checks=[_check(3.0)], curves=list(_run(1.0).curves))
    command.write(found, out, seconds=1.5, is_quick=False)
    told = msgspec.json.decode((out / "report.json").read_bytes())
    assert {"commit", "machine", "versions", "seconds", "checks"} <= told.keys()
    assert told["curves"][0]["fit"]["exponent"] == pytest.approx(1.0)
    text = (out / "report.md").read_text()
    assert "### 2. The car and its laboratory" in text
    assert "| waits | 3 ms | ≤ 10 ms | yes |" in text
    assert (out / "limits.png").stat().st_size > 0
    assert (out / "growth.png").stat().st_size > 0


def test_a_benchmark_that_prints_nothing_is_named_as_broken() -> None:
    found = command.Found()
    command.measure(Bench(name="absent", what="nothing"), found, is_quick=True)
    assert (found.broken, found.checks) == (["absent"], [])
    assert found.taken[0].why == "broke: 1 of 1 runs printed no figures"


def test_where_only_some_are_run_the_others_keep_their_last_figures(tmp_path: Path) -> None:
    found = command.Found()
    found.told["bench_codec"] = [msgspec.to_builtins(_run(value)) for value in (1.0, 5.0, 3.0)]
    found.taken.append(Taken(name="bench_codec", what="codec", seconds=(1.0,), commit="abc"))
    command.write(found, tmp_path, seconds=1.0, is_quick=False)
    last = report.last(tmp_path, is_quick=False)
    assert last is not None
    assert report.last(tmp_path, is_quick=True) is None
    again = command.Found()
    command.keep(Bench(name="bench_codec", what="codec"), again, last)
    command.keep(Bench(name="bench_journal", what="journal"), again, last)
    assert [each.value for each in again.checks] == [3.0]
    assert again.taken[0].commit == "abc"
    command.write(again, tmp_path, seconds=1.0, is_quick=False)
    assert "| codec | 1 | 1 | abc |" in (tmp_path / "report.md").read_text()


def test_what_cannot_be_short_is_left_out_of_a_quick_look_and_that_is_said() -> None:
    found = command.Found()
    command.measure(Bench(name="absent", what="long", quick=None), found, is_quick=True)
    assert (found.broken, found.taken[0].why) == ([], "left out")
