"""README's table changes where something was measured in full, and nowhere else."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import UsageError
from tests.benchmarks.readme import BEGIN, END, GROWTH_PNG, LIMITS_PNG, rewritten, shares
from tests.benchmarks.standing import Row

REPOSITORY = Path(__file__).parents[2]
TEXT = f"# Title\n\nWords.\n\n{BEGIN}\nold\n{END}\n\nMore words.\n"
ROW = Row(
    part=2,
    name="waits",
    value=3.25,
    unit="ms",
    limit=10.0,
    better="lower",
    word="met",
    where="`make bench`",
    share=0.325,
    in_readme=True,
)


def _changed(**changes: object) -> Row:
    return msgspec.structs.replace(ROW, **changes)


def test_a_measured_row_has_value_limit_verdict_and_command() -> None:
    text = rewritten(TEXT, [ROW], "Measured somewhere.")
    assert "| waits | 3.25 ms | ≤ 10 ms | yes | `make bench` |\n" in text
    assert f"({LIMITS_PNG})" in text
    assert f"({GROWTH_PNG})" in text
    assert f"Measured somewhere.\n{END}" in text
    assert "old" not in text


def test_a_miss_is_not_hidden() -> None:
    row = _changed(value=12.0, word="missed")
    assert "| waits | 12 ms | ≤ 10 ms | **no** |" in rewritten(TEXT, [row], "")


@pytest.mark.parametrize("changes", [{"is_quick": True}, {"word": "not run", "value": None}])
def test_what_was_not_measured_in_full_stays_word_for_word(changes: dict[str, object]) -> None:
    first = rewritten(TEXT, [ROW], "First.")
    again = rewritten(first, [_changed(**{"value": 99.0, **changes})], "First.")
    assert again == first


@pytest.mark.parametrize("changes", [{"is_quick": True}, {"word": "not run"}])
def test_what_was_never_measured_is_not_there(changes: dict[str, object]) -> None:
    assert "waits" not in rewritten(TEXT, [_changed(**changes)], "")


def test_rows_stand_in_the_order_of_parts() -> None:
    rows = [_changed(part=7, name="later"), _changed(part=2, name="earlier")]
    text = rewritten(TEXT, rows, "")
    assert text.index("earlier") < text.index("later")


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_nothing_outside_the_markers_changes(before: str, old: str, after: str) -> None:
    text = rewritten(f"{before}{BEGIN}{old}{END}{after}", [ROW], "s")
    assert text.startswith(before + BEGIN)
    assert text.endswith(END + after)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_twice_is_as_good_as_once(old: str) -> None:
    once = rewritten(f"{BEGIN}{old}{END}", [ROW], "s")
    assert rewritten(once, [ROW], "s") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_text_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="put them back"):
        rewritten(text, [ROW], "")


def test_the_plot_shows_what_the_table_says_kept_rows_too() -> None:
    first = rewritten(
        TEXT, [_changed(name="kept", value=38_373.0, limit=20_000.0, better="higher")], ""
    )
    text = rewritten(
        first,
        [
            _changed(name="kept", word="not run"),
            _changed(name="none", value=0.0, limit=0.0, unit=""),
            _changed(name="late", value=12.5, word="missed"),
        ],
        "",
    )
    assert shares(text) == [("kept", 20_000 / 38_373), ("none", 0.0), ("late", 1.25)]


def test_our_readme_has_its_markers_and_both_plots() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert rewritten(text, [ROW], "s") != text
    assert all((REPOSITORY / each).is_file() for each in (LIMITS_PNG, GROWTH_PNG))
