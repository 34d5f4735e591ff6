"""What `make test-unit` does not look through holds no test that would then run nowhere."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
MARKED = re.compile(r"^pytestmark = .*pytest\.mark\.(e2e|slow)", re.MULTILINE)


def _passed_over() -> list[str]:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (names,) = re.findall(r"^ALL_SLOW := (.+)$", text, re.MULTILINE)
    return str(names).split()


@pytest.mark.parametrize("name", _passed_over())
def test_what_unit_tests_pass_over_is_marked_as_a_whole(name: str) -> None:
    place = REPOSITORY / name
    modules = sorted(place.rglob("test_*.py")) if place.is_dir() else [place]
    assert modules
    assert [each.name for each in modules if not MARKED.search(each.read_text("utf-8"))] == []
