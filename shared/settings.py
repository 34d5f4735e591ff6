"""Settings: a TOML file, overruled by environment variables, checked against a struct.

Laws:
- an unknown key is an error, so that a misspelt setting never passes for its default;
- an error names the file, the key and what is wrong, in one line;
- secrets are never settings: a setting names the file that holds one.

`PARKFLEET_SERVER_PORT=8080` overrules `port` where the prefix is `PARKFLEET_SERVER`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from shared import codec
from shared.errors import UsageError

S = TypeVar("S", bound=msgspec.Struct)


def read_toml(path: Path) -> dict[str, object]:
    """Return the table in a TOML file.

    Raises:
        UsageError: the file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def load(
    settings: type[S], path: Path | None, *, prefix: str, environ: Mapping[str, str] | None = None
) -> S:
    """Return `settings` from the file at `path` (None: defaults) and the environment.

    Raises:
        UsageError: a file, key or value is wrong.
    """
    table = read_toml(path) if path else {}
    source = str(path) if path else "settings"
    environ = os.environ if environ is None else environ
    for field in msgspec.structs.fields(settings):
        variable = f"{prefix}_{field.name}".upper()
        if variable in environ:
            table[field.encode_name] = environ[variable]
            source = f"{source} with {variable}"
    return convert(table, settings, source=source)


def convert(table: object, settings: type[S], *, source: str) -> S:
    """Return `table` as `settings`; numbers may be given as text.

    Raises:
        UsageError: a key is unknown, a value does not fit or a number is not finite; the text
            names `source`.
    """
    try:
        converted = msgspec.convert(table, settings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{source}: {in_words(str(error))}") from None
    if not codec.is_finite(converted):
        raise UsageError(f"{source}: a number is not finite")
    return converted


def in_words(problem: str) -> str:
    """Return msgspec's text as a person reads a file: the key first, as it is written there.

    "Expected `int`, got `str` - at `$.camera.port`" becomes "camera.port: expected int, got str".
    """
    what, _, place = problem.replace("Object contains unknown field", "unknown key").partition(
        " - at `$"
    )
    what = re.sub("`", "", what)
    key = place.strip("`.")
    return f"{key}: {what[0].lower()}{what[1:]}" if key else f"{what[0].lower()}{what[1:]}"
