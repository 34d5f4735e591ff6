"""The command `parkfleet`: finds its verbs by entry point and turns errors into one line.

Laws:
- a verb's code is loaded only when that verb is called, so that a car loads no server;
- a person's mistake ends with one line that says what to do, and exit code 2, never a traceback;
  a group of verbs without a verb shows its help;
- Ctrl-C ends with exit code 130.

A verb is a click command registered under the entry point group `parkfleet.verbs`.
"""

import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import click
import msgspec

from shared import __version__, logs
from shared.errors import ParkfleetError, UsageError

_GROUP = "parkfleet.verbs"
_SUMMARIES = {
    "broker": "Run or configure the MQTT broker.",
    "console": "Watch the fleet in the terminal and give orders, straight over MQTT.",
    "demo": "Show the whole loop in a few minutes: broker, server, trainer and two simulated cars.",
    "device": "The car: enrol, drive, sync, look at its state.",
    "evaluate": "Drive the reference evaluation through the whole fleet, and report.",
    "releases": "Keep the signed release repository.",
    "server": "Run the fleet server.",
    "sim": "The laboratory: simulated cars, rendered scenes.",
    "token": "Create access tokens for the REST API.",
    "trainer": "Train models, or work on the server's training jobs.",
}
_EXTRA = {
    "console": "console",
    "device": "device",
    "sim": "sim",
    "trainer": "trainer",
    "demo": "lab",
    "evaluate": "lab",
}

F = TypeVar("F", bound=Callable[..., Any])


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        found = [entry for entry in entry_points(group=_GROUP) if entry.name == cmd_name]
        return _load(found[0]) if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _SUMMARIES[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _load(entry: EntryPoint) -> click.Command:
    """Return a verb's command.

    Raises:
        UsageError: a library that the verb needs is not installed.
    """
    try:
        command: click.Command = entry.load()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in entry.value:
            raise
        raise UsageError(_missing([entry.name], error.name)) from None
    return command


def _missing(arguments: list[str], library: str | None) -> str:
    """Return what to install where the verb in `arguments` found no `library`."""
    verb = next((each for each in arguments if each in _SUMMARIES), "parkfleet")
    extra = _EXTRA.get(verb, "server")
    return (
        f"'{verb}' needs {library}, which is not installed here: pip install 'parkfleet[{extra}]'"
    )


def _is_ours(module: str | None) -> bool:
    rooms = {entry.value.split(".")[0] for entry in entry_points(group=_GROUP)} | {"shared"}
    return (module or "").split(".")[0] in rooms | {""}


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: parkfleet demo --exit",
)
@click.version_option(__version__, prog_name="parkfleet")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default=lambda: os.environ.get("PARKFLEET_LOG_LEVEL", "info"),
    help="Least severe log event shown (environment: PARKFLEET_LOG_LEVEL).",
    show_default="info",
)
def parkfleet(log_level: str) -> None:
    """Edge-first inference with fleet sync."""
    logs.configure(log_level)


def json_option(function: F) -> F:
    """Add `--json` to a command, which then prints one JSON object through `emit`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def emit(result: object, *, as_json: bool, text: str) -> None:
    """Print `result` as one JSON object, or `text` for people."""
    click.echo(msgspec.json.encode(result, order="sorted").decode() if as_json else text)


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str], command: click.Command | None = None, name: str = "parkfleet") -> int:
    """Run one command line and return its exit code: 0, 1 failed, 2 wrong use, 130 interrupted.

    `command` is `parkfleet` itself, unless another one is given, called `name`.
    """
    try:
        status = (command or parkfleet).main(arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        # Its message is the whole help text: several lines, meant to be read as they stand.
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        click.echo(f"{name}: {_one_line(error.format_message())}{_hint(error)}", err=True)
        return 2
    except UsageError as error:
        click.echo(f"{name}: {_one_line(error)}", err=True)
        return 2
    except ParkfleetError as error:
        click.echo(f"{name}: {_one_line(error)}", err=True)
        return 1
    except ModuleNotFoundError as error:
        # Verbs import large libraries only when they get to work: the extra is missed this late.
        if _is_ours(error.name):
            raise
        click.echo(f"{name}: {_one_line(_missing(arguments, error.name))}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        logging.getLogger(__name__).info("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing is wrong and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""
