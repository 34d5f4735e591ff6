"""Every topic, verb, setting and Make target is documented, as it is; pages name what there is."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from shared.topics import TABLE
from tests.docs import reference

ROOT = reference.REPOSITORY
PAGES = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in sorted(
        page
        for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "tests/**/*.md")
        for page in ROOT.glob(pattern)
    )
}
"""What people read, by its place in the repository."""

ROOMS = ("shared", "device", "fleet_server", "hardware_sim", "trainer", "tests")


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


def _code(page: str) -> Iterator[str]:
    """Yield what stands on a page as code: spans, and the lines of blocks, less comments."""
    text = PAGES[page].replace("\\\n", " ")
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^ {4}.+$", text, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in "\n".join(blocks).splitlines():
        yield line.partition("#")[0].strip()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_only_targets_commands_and_options_that_there_are(page: str) -> None:
    known = dict(commands())
    for code in _code(page):
        program, *words = code.split() or [""]
        if program == "make" and words:
            assert words[0] in reference.targets() or "=" in words[0], code
        if program != "parkfleet":
            continue
        path = program
        while words and f"{path} {words[0]}" in known:
            path = f"{path} {words.pop(0)}"
        if isinstance(known[path], click.Group):
            assert not words or not re.match("[a-z]", words[0]), code
        options = {name for each in known[path].params for name in each.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, code


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_only_modules_and_files_of_ours_that_there_are(page: str) -> None:
    text = PAGES[page]
    for name in re.findall(rf"python -m ((?:{'|'.join(ROOMS)})[\w.]*)", text):
        place = ROOT.joinpath(*name.split("."))
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), name
    for name in re.findall(rf"`((?:{'|'.join(ROOMS)}|docs|deploy)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def _headings(text: str) -> Iterator[str]:
    """Yield the anchors that GitHub gives to the headings of a page."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        yield re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_image_of_a_page_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)", PAGES[page]):
        file, _, anchor = target.partition("#")
        place = (ROOT / page).parent / file if file else ROOT / page
        assert place.exists(), target
        if anchor:
            assert anchor in _headings(place.read_text(encoding="utf-8")), target


def test_the_list_of_decisions_is_whole_and_in_order_of_its_numbers() -> None:
    files = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    listed = re.findall(
        r"^\| \[(\d{4})\]\((\S+)\) \| \S", PAGES["docs/adr/README.md"], re.MULTILINE
    )
    assert listed == [(file.name[:4], file.name) for file in files]
    for file in files:
        assert file.read_text(encoding="utf-8").startswith(f"# {file.name[:4]}: ")


def test_no_picture_of_the_documentation_lies_unused() -> None:
    shown = {
        Path(name).name for text in PAGES.values() for name in re.findall(r"\(([^)\s]+)", text)
    }
    for picture in (ROOT / "docs" / "images").iterdir():
        # Those of the console are a set, in every light and size; the page links to the folder.
        assert picture.name in shown or picture.name.startswith("console-"), picture.name


def test_every_record_that_a_file_becomes_is_on_the_page_of_settings() -> None:
    documented = {place.partition(":")[2] for place in reference.SETTINGS}
    found = set()
    for room in ("device", "fleet_server", "trainer", "hardware_sim"):
        for file in (reference.REPOSITORY / room).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            found |= set(re.findall(r"settings\.load\(\s*([A-Z]\w+)", text))
    assert found <= documented
