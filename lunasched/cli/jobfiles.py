"""The commands that take jobs from files: import-config and apply."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.firstuse import after_adding
from lunasched.cli.mailwarning import warn_of_mail
from lunasched.cli.needswarning import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.errors import ExitCode, InvalidInput, LunaschedError, PermissionDenied

if TYPE_CHECKING:
    from lunasched.files.configfile import ConfigFile, FileEntry
    from lunasched.formats.document import Format

_SUFFIXES = (".yaml", ".yml", ".toml")

_FORMAT_OPTION = typer.Option(
    None,
    "--format",
    metavar="FORMAT",
    help="yaml or toml.  [default: by the file's suffix]",
    show_default=False,
)
_DRY_RUN_OPTION = typer.Option(False, "--dry-run", help="Print the plan, change nothing.")


@app.command("import-config")
def import_config(
    ctx: typer.Context,
    file: str = typer.Argument(
        ..., help="A file of jobs, see lunasched.yaml(5); - is standard input.", show_default=False
    ),
    format_: Optional[str] = _FORMAT_OPTION,
    replace: bool = typer.Option(False, "--replace", help="Change jobs that exist."),
    dry_run: bool = _DRY_RUN_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Add the jobs of a file, all or none."""
    session = Session.choose(chosen_mode(ctx, system))
    entries = _entries(session, [file], format_)
    _deploy(session, entries, dry_run=dry_run, replace=replace)


@app.command()
def apply(
    ctx: typer.Context,
    files: Optional[List[str]] = typer.Argument(
        None,
        metavar="FILE...",
        help="Files of jobs, or directories of them; - is standard input.  [default: jobs.d]",
        show_default=False,
    ),
    format_: Optional[str] = _FORMAT_OPTION,
    prune: bool = typer.Option(False, "--prune", help="Remove the jobs that are in no file."),
    allow_empty: bool = typer.Option(False, "--allow-empty", help="Let --prune remove all jobs."),
    dry_run: bool = _DRY_RUN_OPTION,
    exit_code: bool = typer.Option(
        False, "--exit-code", help="Exit with 2 if there is something to change."
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Make the jobs match files, all or none. With --prune, remove all others."""
    session = Session.choose(chosen_mode(ctx, system))
    try:
        entries = _entries(session, files or [], format_)
        if prune and not entries and not allow_empty:
            raise InvalidInput(
                "the files hold no job, and --prune would remove all jobs; "
                "if that is meant: --allow-empty"
            )
        changes = _deploy(session, entries, dry_run=dry_run, replace=True, prune=prune)
    except LunaschedError as error:
        if exit_code and error.exit_code == ExitCode.USAGE:
            # Exit status 2 means that there are changes, so an error may not use it.
            error.exit_code = ExitCode.FAILED
        raise
    if exit_code and changes:
        raise typer.Exit(ExitCode.USAGE)


def _deploy(
    session: Session,
    entries: List[FileEntry],
    *,
    dry_run: bool,
    replace: bool,
    prune: bool = False,
) -> bool:
    """Deploy the jobs of files; return True if there was something to do."""
    from lunasched.cli import plans
    from lunasched.deploy.plan import plan

    jobs = [entry.job for entry in entries]
    try:
        if dry_run:
            wanted = plan(jobs, session.store_as_is, prune=prune)
            compiled = plans.check_plan(session, wanted)
            plans.show(wanted)
            print(f"Plan: {plans.counted(wanted, ('to add', 'to change', 'to remove'))}.")
        else:
            done = session.deployer.put_all(jobs, now=session.now(), replace=replace, prune=prune)
            wanted, compiled = done.plan, done.compiled
            if done.settled:
                text = "note: a change that a killed command had left unfinished was finished first"
                print(text, file=sys.stderr)
            plans.show(wanted)
            print(f"Done: {plans.counted(wanted, ('added', 'changed', 'removed'))}.")
    except InvalidInput as error:
        raise plans.with_places(error, entries) from error
    plans.warn_authors(compiled)
    warn_of_lacks(session, wanted.put)
    warn_of_mail(session, wanted.put)
    if not dry_run and wanted.put:
        after_adding(session)
    return not wanted.is_empty


def _entries(session: Session, names: List[str], format_: Optional[str]) -> List[FileEntry]:
    """Return the jobs of files; raises ``InvalidJob`` with all errors in them."""
    from lunasched.errors import InvalidJob
    from lunasched.files import configfile

    found: List[ConfigFile] = []
    problems: List[str] = []
    for name in names:
        for path in _expanded(name):
            _read_into(found, problems, session, path, format_)
    if not names:
        for path in _of_directory(session.paths.job_files, trusted=session.mode.value == "system"):
            _read_into(found, problems, session, path, format_)
    if problems:
        raise InvalidJob(problems)
    configfile.check_distinct(found)
    for file in found:
        _warn(session, file)
    return [entry for file in found for entry in file.entries]


def _read_into(
    found: List[ConfigFile],
    problems: List[str],
    session: Session,
    name: str,
    format_: Optional[str],
) -> None:
    from lunasched.files import configfile
    from lunasched.formats import document

    try:
        chosen = _format(format_, name)
        read = document.read_document(_content(name), _source(name), chosen)
        found.append(configfile.read_config(read, base=session.settings.defaults))
    except InvalidInput as error:
        problems += str(error).splitlines()


def _format(word: Optional[str], name: str) -> Format:
    from lunasched.formats.document import Format
    from lunasched.jobs.values import OneOf

    if word is not None:
        try:
            chosen: Format = OneOf(Format, "format")(word)
        except InvalidInput as error:
            raise InvalidInput(f"--format: {error}") from error
        return chosen
    if name == "-":
        raise InvalidInput("standard input has no suffix: give --format yaml or --format toml")
    return Format.of(name)


def _source(name: str) -> str:
    return "standard input" if name == "-" else name


def _content(name: str) -> bytes:
    """The bytes of a file, and no more of a large one than shows that it is."""
    from lunasched.formats.document import BYTES_MAX

    try:
        if name == "-":
            return sys.stdin.buffer.read(BYTES_MAX + 1)
        with Path(name).open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except PermissionError as error:
        raise _denied(Path(name)) from error
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}") from error


def _expanded(name: str) -> List[str]:
    """A file, or those of a directory."""
    # A path that may not be accessed is reported by its reader.
    if name != "-" and os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises before Python 3.14
        return _of_directory(Path(name), trusted=False)
    return [name]


def _of_directory(directory: Path, *, trusted: bool) -> List[str]:
    """The files of jobs in a directory, in the order of their names.

    ``trusted`` is for one that is read without being named: as cron does with its own, a file in
    it that others than root can write is refused.
    """
    try:
        paths = sorted(
            path
            for path in directory.iterdir()
            if path.suffix in _SUFFIXES and not path.name.startswith(".")
        )
    except PermissionError as error:
        raise _denied(directory) from error
    except OSError as error:
        raise InvalidInput(
            f"{directory} cannot be read ({error.strerror}); name the files, or create it"
        ) from error
    if trusted:
        for path in (directory, *paths):
            _check_owner(path)
    return [str(path) for path in paths]


def _denied(path: Path) -> PermissionDenied:
    return PermissionDenied(
        f"{path} cannot be read by this user; run as root, or have its owner let you read it"
    )


def _check_owner(path: Path) -> None:
    try:
        about = path.stat()
    except PermissionError as error:
        raise _denied(path) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    by_group = about.st_gid != 0 and about.st_mode & stat.S_IWGRP
    if about.st_uid != 0 or by_group or about.st_mode & stat.S_IWOTH:
        quoted = shlex.quote(str(path))
        raise InvalidInput(
            f"{path} is writable for users other than root, so it was not read; "
            f"if its jobs are right: chown root {quoted} && chmod go-w {quoted}"
        )


def _warn(session: Session, file: ConfigFile) -> None:
    for warning in file.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if file.present and Path(file.source).absolute() != session.paths.settings:
        print(
            f"warning: {file.source}: {', '.join(file.present)}: settings are read from "
            f"{session.paths.settings} alone",
            file=sys.stderr,
        )
