"""Command export-config."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, LunaschedError, PermissionDenied
from lunasched.machine import terminal

if TYPE_CHECKING:
    from lunasched.formats.document import Format
    from lunasched.jobs.model import Job


@app.command("export-config")
def export_config(
    ctx: typer.Context,
    name: Optional[List[str]] = typer.Argument(
        None, metavar="[NAME]...", help="Names of jobs.  [default: all]", show_default=False
    ),
    format_: Optional[str] = typer.Option(
        None,
        "--format",
        metavar="FORMAT",
        help="yaml or toml.  [default: by FILE's suffix, else yaml]",
        show_default=False,
    ),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        metavar="FILE",
        help="Write this file, with mode 0600.",
        show_default=False,
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Write jobs as a file that import-config reads."""
    from lunasched.files.dump import dump

    session = Session.choose(chosen_mode(ctx, system))
    jobs = _chosen(session, name or [])
    written = dump(jobs, _format(format_, output), defaults=session.settings.defaults)
    if output is None:
        if sys.stdout.isatty() and any(_has_secrets(job) for job in jobs):
            _note("the file holds secrets: URLs or headers of notifications")
        terminal.print_exact(written.text)
    else:
        _write(output, written.text.encode())
    for line in written.unsaid:
        _note(f"{line}, and would get it from {session.paths.settings} when imported here")
    known = {job.name for job in jobs}
    for job in jobs:
        for missing in [one for one in job.waits_for if one not in known]:
            _note(f"job {job.name!r} waits for {missing!r}, which is not in the file")


def _chosen(session: Session, names: list[str]) -> list[Job]:
    """The jobs in the order in which they are named; raises ``NoSuchJob``.

    Without names all but those of crontabs: where these are, they are jobs already.
    """
    if not names:
        jobs = session.jobs()
        of_crontabs = session.store.jobs.origins()
        if of_crontabs:
            _note(
                f"without the jobs of crontabs, of which there are {len(of_crontabs)}; a job that "
                "is named is written"
            )
        return [job for job in jobs if job.name not in of_crontabs]
    return [session.job(name) for name in dict.fromkeys(names)]


def _format(said: Optional[str], output: Optional[Path]) -> Format:
    from lunasched.formats.document import Format

    if said is None:
        return Format.YAML if output is None else Format.of(output.name)
    try:
        return Format(said.lower())
    except ValueError:
        raise InvalidInput(f"--format {said}: it is neither yaml nor toml") from None


def _has_secrets(job: Job) -> bool:
    return job.notifications != job.notifications.without_secrets()


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place by one rename, readable for its owner alone.

    A definition can hold secrets. Only an ordinary file is replaced: what a link or a device stands
    for was not meant.
    """
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise InvalidInput(f"{path} exists and is not a regular file; name another one")
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except PermissionError as error:
        raise PermissionDenied(f"{path} cannot be written: {error.strerror}") from error
    except OSError as error:
        raise LunaschedError(f"{path} cannot be written: {error.strerror}") from error
