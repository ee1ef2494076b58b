"""Commands for something that runs once: at, run."""

from __future__ import annotations

import inspect
import os
import re
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from lunasched.cli import unitlisting
from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.firstuse import after_adding
from lunasched.cli.joboptions import (
    definition_of,
    give_parameters,
    job_parameters,
    option_of,
    parameter,
)
from lunasched.cli.mailwarning import warn_of_mail
from lunasched.cli.needswarning import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunasched.jobs.model import Job

_NAME = typer.Option(
    None, "--name", help="Name of the job.  [default: from the command]", show_default=False
)
_KEEP = typer.Option(False, "--keep", help="Keep the job when its run is over.")
_WHEN = typer.Argument(
    ...,
    help="'18:00', 'tomorrow 03:00', '2026-12-24 18:00 Europe/Berlin' or 'now + 2h'.",
    show_default=False,
)
_WAIT = typer.Option(False, "--wait", help="Print the run's output and exit with its exit code.")
_OWN = ("name", "schedule", "timezone", "catch_up", "remove_when_over", "enabled", "dependencies",
        "after")  # fmt: skip
"""The fields of a job that these commands set, or that have no place in what runs once."""
_NOT_REMEMBERED = frozenset(("TERM", "DISPLAY", "_", "SHLVL", "OLDPWD", "INVOCATION_ID"))
"""Variables of a terminal or of the command itself, which at(1) leaves out, too."""
_NAME_CHARACTERS = 40
_SCRIPT_MAX = 100_000


def at(
    ctx: typer.Context,
    when: str,
    argv: Optional[List[str]],
    name: Optional[str],
    keep: bool,
    **options: Any,
) -> None:
    """Run a command once at a time, or a script from standard input."""
    from lunasched.cli.render import local_time
    from lunasched.history.slot import to_datetime, to_usec
    from lunasched.schedule.moment import parse_moment

    session = Session.choose(chosen_mode(ctx, options.pop("system")))
    zone = session.host_timezone
    moment = parse_moment(when, now=to_datetime(session.now()), zone=zone)
    definition = definition_of(argv, options)
    if definition["command"] is None:
        definition["command"] = _script()
    definition |= {
        "name": name or _free_name(session, definition["command"]),
        "schedule": f"calendar:{moment:%Y-%m-%d %H:%M:%S} UTC",
        "catch_up": True,
        "remove_when_over": not keep,
    }
    remembered = _remember(definition)
    job = _added(session, definition)
    print(
        f"Job {job.name!r} runs once, at {local_time(to_usec(moment))}"
        f"{'' if keep else '; then it is removed, and its history stays'}."
    )
    if remembered:
        print(f"note: it has {remembered}", file=sys.stderr)
    after_adding(session)


def run_now(
    ctx: typer.Context,
    argv: Optional[List[str]],
    name: Optional[str],
    keep: bool,
    wait: bool,
    **options: Any,
) -> None:
    """Run a command now, as a job: with its limits, retries, notifications, on record."""
    from lunasched.cli.startstop import start_now
    from lunasched.schedule import ON_DEMAND

    session = Session.choose(chosen_mode(ctx, options.pop("system")))
    definition = definition_of(argv, options)
    if definition["command"] is None:
        raise InvalidInput("a command is missing: lunasched run -- COMMAND")
    definition |= {
        "name": name or _free_name(session, definition["command"]),
        "schedule": ON_DEMAND,
        "remove_when_over": not keep,
    }
    if definition["working_directory"] is None and definition["user"] is None:
        definition["working_directory"] = str(Path.cwd())
    job = _added(session, definition)
    start_now(session, job, job, wait=wait)


def _added(session: Session, definition: Mapping[str, Any]) -> Job:
    from lunasched.jobs.reading import job_from_mapping

    job = job_from_mapping(definition, defaults=session.settings.defaults, label=option_of)
    compiled = session.deployer.add(job, now=session.now())
    unitlisting.warn_author(compiled)
    warn_of_lacks(session, [job])
    warn_of_mail(session, [job])
    return job


def _script() -> str:
    """What standard input has, as a script for the shell."""
    if sys.stdin.isatty():
        print("note: reading the script from standard input; end it with Ctrl-D", file=sys.stderr)
    text = sys.stdin.read(_SCRIPT_MAX + 1)
    if not text.strip():
        raise InvalidInput("there is no command, neither after -- nor on standard input")
    if len(text) > _SCRIPT_MAX:
        raise InvalidInput(f"the script has more than {_SCRIPT_MAX} characters; put it into a file")
    return text.strip("\n")


def _free_name(session: Session, command: str | list[str]) -> str:
    """A name of the command's first word that no job has, and none in the history."""
    words = command.split() if isinstance(command, str) else command
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(words[0]).name if words else "").strip("-.")
    base = word[:_NAME_CHARACTERS] or "job"
    names = (f"{base}-{number}" for number in count(1))
    return next(name for name in names if not _is_taken(session, name))


def _is_taken(session: Session, name: str) -> bool:
    if session.store.jobs.get(name) is not None:
        return True
    return session.of_history(lambda: session.store.runs.exist_for(name), False)


def _remember(definition: dict[str, Any]) -> str:
    """Give a job the directory, umask and variables of this command, as at(1) does.

    None where it runs as another user: they are not theirs. Returns what it has, in words.
    """
    from lunasched.jobs import values

    if definition["user"] is not None:
        return ""
    if definition["working_directory"] is None:
        definition["working_directory"] = str(Path.cwd())
    umask = os.umask(0)
    os.umask(umask)
    definition["sandbox"] = {"umask": f"{umask:03o}", **definition["sandbox"]}
    variables = {}
    for variable, text in os.environ.items():
        if variable in _NOT_REMEMBERED or variable.startswith("LUNASCHED_"):
            continue
        try:
            values.read_environment({variable: text})
        except InvalidInput:
            continue
        variables[variable] = text
    definition["env"] = {**variables, **(definition["env"] or {})}
    if definition["private"] is None:
        # What is in the environment of a shell is nobody else's business.
        definition["private"] = True
    return f"this directory, umask {umask:03o} and {len(variables)} variables of here, as at(1) has"


def _register() -> None:
    own = [
        parameter("name", _NAME, Optional[str]),
        parameter("keep", _KEEP, bool),
    ]
    mode = parameter("system", MODE_OPTION, Optional[bool])
    context = parameter("ctx", inspect.Parameter.empty, typer.Context)
    options = job_parameters(but=_OWN)
    give_parameters(at, [context, parameter("when", _WHEN, str), *options, *own, mode])
    wait = parameter("wait", _WAIT, bool)
    give_parameters(run_now, [context, *options, *own, wait, mode])
    app.command()(at)
    app.command("run")(run_now)


_register()
