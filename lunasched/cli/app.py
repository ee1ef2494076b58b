"""The typer application; its commands are in the modules beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Optional

import typer

from lunasched import __version__
from lunasched.errors import ExitCode, InvalidInput

# typer 0.7 (Debian 12) has no Annotated: options are the defaults of parameters, and types are
# evaluated at run time, where Python 3.10 wants Optional inside of them.

app = typer.Typer(
    name="lunasched",
    help="Run jobs on schedules as systemd timers, with a history of every run.",
    epilog="See lunasched(1) and lunasched-schedule(5).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

TIMES_MAX = 10_000
"""Times to come that can be asked for: each is computed."""
ROWS_MAX = 1_000_000
"""Rows of the history that can be asked for by number."""

MODE_OPTION = typer.Option(
    None,
    "--system/--user",
    help="The system's jobs or your own.  [default: --system as root, --user otherwise]",
    show_default=False,
)
JSON_OPTION = typer.Option(False, "--json", help="Print JSON.")
NAME_ARGUMENT = typer.Argument(..., help="Name of the job.", show_default=False)


def chosen_mode(ctx: typer.Context, here: Optional[bool]) -> Optional[bool]:
    """``--system`` or ``--user`` from after the command, else from before it."""
    return here if here is not None else ctx.find_root().params.get("system")


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """Return the variables of ``--env NAME=value``; raises ``InvalidInput``."""
    environment = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"--env: {pair!r} is not of the form NAME=value")
        environment[name] = value
    return environment


def _version(show: bool) -> None:
    if show:
        print(f"lunasched {__version__}")
        raise typer.Exit(ExitCode.DONE)


@app.callback()
def root(
    system: Optional[bool] = MODE_OPTION,
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),
    version: bool = typer.Option(
        False, "--version", "-V", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Run jobs on schedules as systemd timers, with a history of every run."""


# The module that defines each command: only that one is loaded, because each option costs time.
_MODULES = {
    "add": "add",
    "at": "once",
    "run": "once",
    "remove": "jobchanges",
    "enable": "jobchanges",
    "disable": "jobchanges",
    "compile": "jobchanges",
    "sync": "jobchanges",
    "migrate": "migrate",
    "eject": "conversion",
    "adopt": "conversion",
    "import-crontab": "crontabimport",
    "crontabs": "crontabscommand",
    "adopt-crontab": "crontabscommand",
    "serve-usercrontab": "crontabscommand",
    "import-config": "jobfiles",
    "apply": "jobfiles",
    "edit": "edit",
    "schema": "schemacommand",
    "export-config": "export",
    "start": "startstop",
    "stop": "startstop",
    "list": "views",
    "get": "views",
    "history": "views",
    "logs": "views",
    "graph": "graph",
    "queue": "queue",
    "retry": "queue",
    "explain": "nextruns",
    "next": "nextruns",
    "calendar": "calendars",
    "spread": "spread",
    "vacuum": "vacuum",
    "metrics": "metricscommand",
    "doctor": "doctorcommand",
    "serve-reader": "reader",
    "remove-over": "jobchanges",
    "notifications": "notifications",
    "notify-test": "notifications",
}


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status, raises what ``lunasched.cli.main`` renders."""
    if "--system" in arguments:
        from lunasched.cli import reader

        if reader.is_for(arguments):
            return reader.ask(arguments)
    load_commands(next((word for word in arguments if not word.startswith("-")), None))
    try:
        app(list(arguments), prog_name="lunasched")
    except SystemExit as end:
        # typer exits this way, also after a usage error that it has printed itself.
        return end.code if isinstance(end.code, int) else ExitCode.FAILED
    return ExitCode.DONE


def load_commands(command: Optional[str] = None) -> None:
    """Have the module of a command register it; without a known one, all of them."""
    wanted = {_MODULES[command]} if command in _MODULES else dict.fromkeys(_MODULES.values())
    for module in wanted:
        import_module(f"lunasched.cli.{module}")
