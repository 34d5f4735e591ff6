"""Every topic, verb, setting and Make target is documented, as it is."""

import re
from functools import cache

import click
import pytest

from shared.topics import TABLE
from tests.docs import reference

README = (reference.REPOSITORY / "README.md").read_text(encoding="utf-8")


@cache
def commands() -> tuple[tuple[str, click.Command], ...]:
    """Every command with its full name; loading all verbs takes a while."""
    return tuple(reference.commands())


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    committed = reference.FOLDER / name
    assert committed.exists(), "write it: python -m tests.docs.reference"
    assert committed.read_text(encoding="utf-8") == reference.pages()[name](), (
        "the code moved on: python -m tests.docs.reference"
    )


def test_every_topic_is_on_its_page() -> None:
    page = reference.topics()
    for row in TABLE:
        assert f"| `{row.pattern}` |" in page
        assert f"\n## {row.message.__name__}\n" in page


def test_every_command_says_what_it_does_and_gives_an_example_that_exists() -> None:
    known = {path for path, _ in commands()}
    for path, command in commands():
        assert command.help, path
        example = (command.epilog or "").removeprefix("Example: ")
        assert any(example.startswith(each) for each in known), f"{path}: {command.epilog}"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.name}"


def test_every_make_target_has_a_help_text() -> None:
    assert all(reference.targets().values()), reference.targets()


def test_the_readme_names_only_what_there_is() -> None:
    made = re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", README, re.MULTILINE)
    assert {name for pair in made for name in pair if name} <= set(reference.targets())
    known = {path for path, _ in commands()}
    for said in re.findall(r"`(parkfleet [a-z]+(?: [a-z-]+)?)", README):
        words = said.split(" -")[0].strip()
        assert words in known, words


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    pages = [reference.REPOSITORY / "README.md", *reference.REPOSITORY.glob("docs/**/*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_record_that_a_file_becomes_is_on_the_page_of_settings() -> None:
    documented = {place.partition(":")[2] for place in reference.SETTINGS}
    found = set()
    for room in ("device", "fleet_server", "trainer", "hardware_sim"):
        for file in (reference.REPOSITORY / room).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            found |= set(re.findall(r"settings\.load\(\s*([A-Z]\w+)", text))
    assert found <= documented
