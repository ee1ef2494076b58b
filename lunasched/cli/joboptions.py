"""The options of a job on the command line: one for each key that has one, and their values."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from lunasched.cli.app import environment
from lunasched.errors import InvalidInput
from lunasched.jobs import keys
from lunasched.jobs.keys import KeyRow, Takes

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARGV = typer.Argument(
    None,
    metavar="[-- ARGV...]",
    help="The program and its arguments, run without a shell; after --command CMD, "
    "arguments for it.",
    show_default=False,
)
_SANDBOX = typer.Option(
    [],
    "--sandbox",
    metavar="KEY[=VALUE]",
    help="Sandbox setting, see lunasched-concepts(7); can be repeated.",
    show_default=False,
)
_SYSTEMD = typer.Option(
    [],
    "--systemd",
    metavar="DIRECTIVE=VALUE",
    help="A directive of [Service]; can be repeated.",
    show_default=False,
)
_TYPES: dict[Takes, Any] = {
    Takes.SCHEDULES: List[str],
    Takes.LISTS: List[str],
    Takes.PAIRS: List[str],
    Takes.EMAIL: List[str],
    Takes.FILE: Optional[Path],
    Takes.SWITCH: Optional[bool],
    Takes.OFF: bool,
}


def job_parameters(but: Collection[str] = ()) -> list[inspect.Parameter]:
    """The parameters of a command for the keys of a job, but for those of some fields."""
    rows = [row for row in keys.ROWS if row.option is not None and row.field not in but]
    # Switches come after what takes a value, --no-... before those without.
    ranks = {Takes.SWITCH: 1, Takes.OFF: 2}
    rows.sort(key=lambda row: ranks.get(row.option.takes, 0) if row.option else 0)
    last = next(at for at, row in enumerate(rows) if row.option and row.option.takes in ranks)
    return [
        parameter("argv", _ARGV, Optional[List[str]]),
        *map(_of_row, rows[:last]),
        parameter("sandbox", _SANDBOX, List[str]),
        parameter("systemd", _SYSTEMD, List[str]),
        *map(_of_row, rows[last:]),
    ]


def give_parameters(command: Any, parameters: Sequence[inspect.Parameter]) -> None:
    """Give a function the parameters that typer reads from it."""
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {one.name: one.annotation for one in parameters}


def parameter(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    """A parameter that typer makes an option or an argument of."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _of_row(row: KeyRow) -> inspect.Parameter:
    """The parameter for the option of a key."""
    assert row.option is not None
    takes = row.option.takes
    annotation = _TYPES.get(takes, Optional[str])
    default: Any = {List[str]: [], bool: False}.get(annotation)
    flag = row.flag
    if takes is Takes.SWITCH:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    if takes is Takes.REQUIRED:
        default, annotation = ..., str
    option = typer.Option(
        default, flag, metavar=row.option.metavar, help=row.option.help, show_default=False
    )
    return parameter(_variable(row), option, annotation)


def _variable(row: KeyRow) -> str:
    return row.flag.removeprefix("--").replace("-", "_")


def definition_of(argv: Optional[List[str]], options: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a job file that the options stand for."""
    definition: dict[str, Any] = {}
    for row in keys.ROWS:
        if row.option is None or _variable(row) not in options:
            continue
        value = _value(row.option.takes, row.flag, options[_variable(row)])
        group, _, key = row.keys[0].rpartition(".")
        (definition.setdefault(group, {}) if group else definition)[key] = value
    definition["command"] = _command(definition.get("command"), argv)
    definition["sandbox"] = _settings("--sandbox", options["sandbox"], alone=True)
    definition[keys.DIRECTIVES] = _settings("--systemd", options["systemd"])
    return definition


def _value(takes: Takes, flag: str, given: Any) -> Any:
    """The value of a key, from that of its option; ``None`` if it is not given."""
    if given is None or takes is Takes.TEXT:
        return given
    match takes:
        case Takes.LIST:
            return given.split(",")
        case Takes.SCHEDULES:
            return given or None
        case Takes.LISTS:
            return [text for texts in given for text in texts.split(",")]
        case Takes.PAIRS:
            return environment(given)
        case Takes.EMAIL:
            return [{"type": "email", "to": ",".join(given)}] if given else None
        case Takes.FILE:
            return _first_line(flag, given)
        case Takes.OFF:
            return False if given else None
    return given


def _command(command: Optional[str], argv: Optional[List[str]]) -> Any:
    """A shell command, or with arguments after ``--`` a program to run without a shell."""
    if argv:
        return [command, *argv] if command is not None else list(argv)
    return command


def _settings(option: str, pairs: List[str], *, alone: bool = False) -> dict[str, Any]:
    """A value for each key, or a list where one is repeated; ``alone``: a key alone is true."""
    chosen: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals and not alone:
            raise InvalidInput(f"{option}: {pair!r} is not of the form DIRECTIVE=VALUE")
        value = text if equals else True
        chosen[key] = [*_listed(chosen[key]), value] if key in chosen else value
    return chosen


def _first_line(flag: str, path: Path) -> str:
    """The text of a file; as an argument, any user of the machine could read it."""
    try:
        with nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8") as file:
            text = file.read(4096)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"{flag}: {path} cannot be read: {reason}") from None
    return text.strip().partition("\n")[0].strip()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def option_of(path: Sequence[str | int]) -> str:
    """The name on the command line of a key of a job, or of one in it."""
    dotted = ".".join(map(str, path))
    flags = {row.keys[0]: row.flag for row in keys.ROWS if row.option is not None}
    for key, flag in flags.items():
        # Errors in a channel are errors in the addresses of the option.
        if dotted == key or ("." in key and dotted.startswith(f"{key}.")):
            return flag
    key, *rest = map(str, path)
    return ".".join([flags.get(key, f"--{key.replace('_', '-')}"), *rest])
