import pytest

from fleet_server.console import words
from tests.fleet_server.console.fleets import NOW_US, SECOND_US


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (14, "just now"),
        (15, "15 s ago"),
        (59, "45 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_400, "1 day ago"),
        (200_000, "2 days ago"),
    ],
)
def test_a_moment_is_told_no_finer_than_it_matters(seconds: int, text: str) -> None:
    assert words.ago(NOW_US - seconds * SECOND_US, NOW_US) == text


def test_what_was_never_is_never() -> None:
    assert words.ago(None, NOW_US) == "never"


def test_what_is_not_known_is_a_dash() -> None:
    assert {words.count(None), words.length(None, "mm"), words.version(None)} == {"\N{EN DASH}"}


def test_a_model_without_a_version_is_named_by_its_digest() -> None:
    assert words.version(3, "ab" * 32) == "v3"
    assert words.version(None, "ab" * 32) == "abababab"


def test_numbers_agree_with_their_nouns() -> None:
    assert words.counted(1, "car") == "1 car"
    assert words.counted(1200, "car") == "1,200 cars"


def test_times_are_utc() -> None:
    assert words.clock_time(NOW_US) == "22:13:20"
    assert words.iso_time(NOW_US) == "2023-11-14T22:13:20+00:00"
