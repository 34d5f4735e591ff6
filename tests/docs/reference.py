"""Writes the reference pages from the code itself: `python -m tests.docs.reference`.

Laws:
- a page is a pure function of the code, so that a test can compare it with what is committed;
- nothing is described here that the code describes: texts are docstrings and help texts.
"""

import inspect as python_inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import inspect

from shared import cli
from shared.topics import ROOT, TABLE, Topic
from tests.docs import server_pages

REPOSITORY = Path(__file__).parent.parent.parent
FOLDER = REPOSITORY / "docs" / "reference"

SETTINGS = {
    "device.settings:DeviceSettings": (
        "The car: `device.toml` in its home folder (environment: `PARKFLEET_DEVICE_...`)"
    ),
    "device.drivers.pi:PiConfiguration": "The car's wiring: the file named by `hardware`",
    "hardware_sim.backend:SimConfiguration": "Simulated instruments: the file named by `hardware`",
    "hardware_sim.apart.backend:ApartConfiguration": (
        "Instruments in another process's world: the file named by `hardware`"
    ),
    "hardware_sim.replay:ReplayConfiguration": (
        "A recording in place of instruments: the file named by `hardware`"
    ),
    "fleet_server.settings:ServerSettings": (
        "The server: `server.toml` in its state folder (environment: `PARKFLEET_SERVER_...`)"
    ),
    "trainer.settings:Limits": (
        "Gates: the file named by `--gates` (environment: `PARKFLEET_GATES_...`)"
    ),
    "trainer.settings:TrainingSettings": (
        "Training: the file named by `--settings` (environment: `PARKFLEET_TRAINER_...`)"
    ),
}
"""Every record that a person's file becomes, and where that file is."""

_WRITTEN = "<!-- Written by `python -m tests.docs.reference`; a test compares. -->"


def pages() -> dict[str, Callable[[], str]]:
    """Return the writer of every reference page by file name."""
    return {
        "topics.md": topics,
        "verbs.md": verbs,
        "settings.md": settings,
        "scenes.md": scenes,
        "make.md": make,
        "rest.md": lambda: server_pages.rest(_WRITTEN),
        "metrics.md": lambda: server_pages.metrics(_WRITTEN),
    }


def topics() -> str:
    """Return the page of all MQTT topics and what they carry."""
    rows = "\n".join(map(_topic_row, TABLE))
    messages = "\n\n".join(_message(row) for row in TABLE)
    return f"""{_WRITTEN}
# Topics

MQTT 3.1.1; every topic begins with `{ROOT}/`. Whatever this table does not name is forbidden, for
a publish and a last will alike. A car speaks and listens under its own name only; `batch` alone may
be shared between consumers (`$share`). *Signed* messages travel in an Ed25519 envelope that covers
the full topic; the limit is that of the payload as received, envelope included.

| topic | from | to | QoS | retained | signed | limit | message |
|---|---|---|---|---|---|---|---|
{rows}

# Messages

Each is a msgpack map with these keys and no others; `chunk` alone goes bare. Numbers are finite.

{messages}
"""


def verbs() -> str:
    """Return the page of all commands."""
    parts = "\n\n".join(_command(path, command) for path, command in commands())
    return f"""{_WRITTEN}
# Verbs

What a command is given wrong it says in one line, with exit code 2; Ctrl-C ends with 130. Every
command takes `--help`.

{parts}
"""


def settings() -> str:
    """Return the page of all settings."""
    parts = "\n\n".join(_settings(place, title) for place, title in SETTINGS.items())
    return f"""{_WRITTEN}
# Settings

TOML. An unknown key is an error; a table of the file is written `[table]`, its keys below as
`table.key`. Where an environment prefix is named, `PREFIX_KEY` overrules the file.

{parts}
"""


def scenes() -> str:
    """Return the page of a scene file's tables and of the scenes that ship."""
    from hardware_sim import scene

    shipped = "\n".join(f"| `{name}` | {scene.load(name).summary} |" for name in scene.shipped())
    tables = "\n\n".join(
        f"## {heading}\n\n{_inherited_text(record)}\n\n| key | type | default |\n|---|---|---|\n"
        + "\n".join(
            f"| `{name}` | {_type(kind)} | {default} |"
            for name, kind, default in _fields(record, nested=False)
            if not list(_records(kind))
        )
        for heading, record in _scene_tables(scene.Scene)
    )
    return f"""{_WRITTEN}
# Scenes

A scene is a TOML file; `--scene` takes one of the names below or the path of any file. `name`,
`summary`, `[floor]` and `[wall]` with their `colour` must be there, everything else has a default.
An unknown key is an error. Lengths are millimetres, angles degrees, colours 0 to 255 for red, green
and blue; a texture's path is relative to the scene's file. The files that ship lie in
`hardware_sim/scenes/`. How it is meant to be used: [laboratory.md](../laboratory.md).

| scene | what it is |
|---|---|
{shipped}

{tables}
"""


def make() -> str:
    """Return the page of all Make targets."""
    rows = "\n".join(f"| `make {name}` | {help_text} |" for name, help_text in targets().items())
    return f"""{_WRITTEN}
# Make targets

Nothing but Python 3.11 and make is needed; the first use makes the environment.

| target | what it does |
|---|---|
{rows}
"""


def targets() -> dict[str, str]:
    """Return the help text of every target that the Makefile declares phony."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (names,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    found = dict(re.findall(r"^([a-z0-9-]+):.*?## (.*)$", text, re.MULTILINE))
    return {name: found.get(name, "") for name in names.split()}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command and group with its full name, in order."""
    yield "parkfleet", cli.parkfleet
    for entry in sorted(entry_points(group="parkfleet.verbs"), key=lambda entry: entry.name):
        yield from _walk(f"parkfleet {entry.name}", entry.load())


def _walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _walk(f"{path} {name}", command.commands[name])


def _topic_row(row: Topic) -> str:
    cells = [
        f"`{row.pattern}`",
        ", ".join(row.publishers),
        ", ".join(row.subscribers),
        str(row.qos),
        "yes" if row.retained else "",
        "yes" if row.signed else "",
        f"{row.limit_bytes // 1024} KiB",
        row.message.__name__,
    ]
    return f"| {' | '.join(cells)} |"


def _message(row: Topic) -> str:
    fields = "\n".join(
        f"| `{name}` | {_type(kind)} | {default} |"
        for name, kind, default in _fields(row.message, nested=False)
    )
    return (
        f"## {row.message.__name__}\n\n{_text(row.message)}\n\n"
        f"| key | type | default |\n|---|---|---|\n{fields}"
    )


def _settings(place: str, title: str) -> str:
    module, _, name = place.partition(":")
    record = getattr(import_module(module), name)
    fields = "\n".join(
        f"| `{key}` | {_type(kind)} | {default} |"
        for key, kind, default in _fields(record, nested=True)
    )
    notes = "\n\n".join(f"`{table}`: {_text(inner)}" for table, inner in _tables(record))
    text = "\n\n".join(filter(None, [_text(record), notes]))
    return f"## {title}\n\n{text}\n\n| key | type | default |\n|---|---|---|\n{fields}"


def _tables(record: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tables inside a settings record with their names."""
    for field in msgspec.structs.fields(record):
        kind = inspect.type_info(field.type)
        if isinstance(kind, inspect.StructType):
            yield prefix + field.name, kind.cls
            yield from _tables(kind.cls, f"{prefix}{field.name}.")


def _scene_tables(record: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every table of a scene with the heading that it has in TOML."""
    yield f"`[{prefix}]`" if prefix else "The top of the file", record
    for field in msgspec.structs.fields(record):
        kind = inspect.type_info(field.type)
        for inner in _records(kind):
            name = f"{prefix}.{field.name}" if prefix else field.name
            tables = list(_scene_tables(inner, name))
            if isinstance(kind, inspect.VarTupleType):
                tables[0] = (f"`[[{name}]]`", inner)
            yield from tables


def _records(kind: Any) -> Iterator[Any]:
    """Yield the records that a value of this type holds."""
    if isinstance(kind, inspect.StructType):
        yield kind.cls
    elif isinstance(kind, inspect.VarTupleType):
        yield from _records(kind.item_type)
    elif isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _records(each)


def _fields(record: Any, *, nested: bool, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield each key of a record with its type and its default as text."""
    for field in msgspec.structs.fields(record):
        kind = inspect.type_info(field.type)
        if nested and isinstance(kind, inspect.StructType):
            yield from _fields(kind.cls, nested=True, prefix=f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, kind, _default(field)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or value in ((), {}):
        return "none"
    return f"`{msgspec.json.encode(value).decode()}`"


def _type(kind: Any) -> str:
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_type(each) for each in kind.types)
    if isinstance(kind, inspect.VarTupleType):
        return f"list of {_type(kind.item_type)}"
    if isinstance(kind, inspect.TupleType):
        return f"list of {len(kind.item_types)} {_type(kind.item_types[0])}"
    if isinstance(kind, inspect.DictType):
        return f"map of {_type(kind.value_type)}"
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspect.StructType):
        return kind.cls.__name__
    return _plain_type(kind)


def _plain_type(kind: Any) -> str:
    name = type(kind).__name__.removesuffix("Type").lower()
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    bounds = [
        f"{sign} {getattr(kind, bound):g}"
        for bound, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(kind, bound, None) is not None and abs(getattr(kind, bound)) < 2**53 - 1
    ]
    longest = getattr(kind, "max_length", None)
    if longest is not None:
        bounds.append(f"at most {longest} {'bytes' if name == 'bytes' else 'characters'}")
    return ", ".join([words.get(name, name), *bounds])


def _command(path: str, command: click.Command) -> str:
    lines = [f"## {path}", "", _paragraphs(command.help or "")]
    if command.epilog:
        lines += ["", f"    {command.epilog.removeprefix('Example: ')}"]
    options = [each for each in command.params if isinstance(each, click.Option)]
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    lines += ["", *(f"- `{each.make_metavar(click.Context(command))}`" for each in arguments)]
    lines += [_option(each) for each in options]
    return "\n".join(lines).rstrip()


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    kind = "" if option.is_flag else f" {option.type.name.upper()}"
    if isinstance(option.type, click.Choice):
        kind = f" {'|'.join(map(str, option.type.choices))}"
    shown = option.show_default if isinstance(option.show_default, str) else option.default
    is_plain = isinstance(shown, str | int | float | Path) and not isinstance(shown, bool)
    default = f" Default: `{shown}`." if is_plain else ""
    required = " Required." if option.required else ""
    return f"- {names}{kind}: {option.help or ''}{required}{default}"


def _text(record: Any) -> str:
    """Return a docstring as Markdown."""
    return _paragraphs(python_inspect.getdoc(record) or "")


def _inherited_text(record: Any) -> str:
    """Return a record's docstring and those of the records that it extends."""
    extended = [each for each in record.__mro__[1:] if getattr(each, "__struct_fields__", ())]
    return "\n\n".join(map(_text, [record, *extended]))


def _paragraphs(text: str) -> str:
    return python_inspect.cleandoc(text.replace("\b", "").replace("\f", ""))


def write() -> None:
    """Write all reference pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
