"""A target is met by all of its figures, against the limit that was asked for, or it is not met."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks import report, standing
from tests.benchmarks.standing import Figure, Report, stand, table
from tests.benchmarks.targets import COMMANDS, MISSED, PARTS, SECONDS, TARGETS, Target

REPOSITORY = Path(__file__).parents[2]


def _figure(name: str, value: float | None, limit: float | None = 10.0) -> Figure:
    return Figure(name=name, value=value, unit="ms", limit=limit, better="lower")


def _target(figures: str = "wait", limit: float | None = 10.0) -> Target:
    return Target(part=2, name="waits", source="bench", figures=figures, limit=limit, unit="ms")


def _stand(target: Target, *figures: Figure, is_quick: bool = False) -> standing.Row:
    (row,) = stand({"bench": Report(checks=figures, is_quick=is_quick)}, [target])
    return row


def test_of_several_figures_the_worst_counts() -> None:
    row = _stand(_target("wait .*"), _figure("wait a", 3.0), _figure("wait b", 11.0))
    assert (row.word, row.value) == ("missed", 11.0)


def test_the_limit_asked_for_counts_where_a_benchmark_is_content_with_less() -> None:
    assert _stand(_target(limit=10.0), _figure("wait", 12.0, limit=20.0)).word == "missed"
    assert _stand(_target(limit=10.0), _figure("wait", 8.0, limit=5.0)).word == "missed"


def test_without_a_limit_of_its_own_the_figures_is_shown() -> None:
    row = _stand(_target(limit=None), _figure("wait", 8.0, limit=9.5))
    assert (row.word, row.limit) == ("met", 9.5)


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_number_meets_nothing(value: float | None) -> None:
    assert _stand(_target(), _figure("wait", value)).word == "missed"


def test_what_no_report_holds_is_not_run() -> None:
    assert _stand(_target(), _figure("something else", 1.0)).word == "not run"
    (row,) = stand({"bench": None}, [_target()])
    assert row.word == "not run"


def test_a_pattern_must_match_the_whole_name() -> None:
    assert _stand(_target("wait"), _figure("wait, cold", 1.0)).word == "not run"


def test_a_report_says_of_itself_how_long_it_took_and_what_missed() -> None:
    made = Report(checks=(_figure("a", 11.0), _figure("b", 1.0)), seconds=42.0)
    found = {each.name: each.value for each in made.figures()}
    assert (found[SECONDS], found[MISSED]) == (42.0, 1.0)


@settings(deadline=None)
@given(
    st.floats(0.0, 1e6, exclude_min=True),
    st.floats(0.0, 1e6, exclude_min=True),
    st.sampled_from(["lower", "higher"]),
)
def test_a_share_above_one_is_a_miss_and_no_other(value: float, limit: float, better: str) -> None:
    is_met = value <= limit if better == "lower" else value >= limit
    assert (standing.share(value, limit, better) <= 1.0) == is_met


@pytest.mark.parametrize(("value", "met"), [(0.0, True), (1.0, False), (-3.0, True)])
def test_a_limit_of_nothing_is_met_by_nothing(value: float, *, met: bool) -> None:
    assert (standing.share(value, 0.0, "lower") <= 1.0) == met


def test_the_table_has_a_line_for_every_target_under_its_part() -> None:
    text = table(stand({}))
    for target in TARGETS:
        assert f"| {target.name} |" in text
    for number, title in PARTS.items():
        assert f"### {number}. {title}\n" in text


def test_a_quick_look_says_so_at_its_values() -> None:
    assert "3 ms (quick)" in table([_stand(_target(), _figure("wait", 3.0), is_quick=True)])


def test_names_of_targets_differ_and_tests_named_are_there() -> None:
    names = [each.name for each in TARGETS]
    assert len(set(names)) == len(names)
    paths = [each.figures for each in TARGETS if each.source == "tests"]
    assert [path for path in paths if not (REPOSITORY / path).is_file()] == []


def test_patterns_compile_and_each_source_has_a_command() -> None:
    for each in TARGETS:
        re.compile(each.figures)
        assert each.source in COMMANDS


def test_reports_of_other_commands_are_read_beside_that_of_the_benchmarks(tmp_path: Path) -> None:
    place = tmp_path / "evaluation" / "report.json"
    place.parent.mkdir()
    place.write_text(
        '{"commit": "abc", "machine": {"processor": "p", "cores": 2}, "seconds": 9.5,'
        ' "checks": [{"name": "n", "value": null, "unit": "", "limit": 1, "better": "lower",'
        ' "met": false}], "phases": []}'
    )
    found = report.read(tmp_path / "bench")
    assert found["bench"] is None
    assert found["evaluate"] == Report(
        checks=(Figure(name="n", value=None, unit="", limit=1, better="lower"),),
        seconds=9.5,
        commit="abc",
        machine={"processor": "p", "cores": 2},
    )
    assert report.sources(found) == "Measured by `make evaluate` at abc on p, 2 cores."
