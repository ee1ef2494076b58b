"""Command edit: one job in the administrator's editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Dict, Optional

import typer

from lunasched.cli.app import MODE_OPTION, NAME_ARGUMENT, app, chosen_mode
from lunasched.cli.crontabscommand import serve_crontabs
from lunasched.cli.mailwarning import warn_of_mail
from lunasched.cli.needswarning import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, JobExists, LunaschedError
from lunasched.jobs.origin import JobOrigin
from lunasched.paths import CRONTAB_SPOOLS, Mode

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.units.compiler import CompiledJob

# The order of crontab(1) and sensible-editor(1).
_VARIABLES = ("VISUAL", "EDITOR")
_EDITORS = ("sensible-editor", "editor", "nano", "vi")
# Those that begin at a line with "+LINE" before the file.
_TAKE_A_LINE = frozenset(
    {"sensible-editor", "editor", "nano", "vi", "vim", "nvim", "emacs", "micro", "joe", "mcedit"}
)


@app.command()
def edit(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Change a job in an editor."""
    from lunasched.cli import plans
    from lunasched.deploy.plan import plan
    from lunasched.files.dump import dump
    from lunasched.formats.document import Format

    session = Session.choose(chosen_mode(ctx, system))
    job = session.job(name)
    origin = session.store.jobs.origins([name]).get(name)
    if origin is not None:
        _edit_crontab(session, origin)
        return
    text = dump([job], Format.YAML, defaults=session.settings.defaults).text
    with tempfile.TemporaryDirectory(prefix="lunasched-edit-") as directory:
        file = Path(directory, "job.yaml")
        file.write_text(text, encoding="utf-8")
        while True:
            _open(file)
            try:
                changed = _read(session, file, job)
                if plan([changed], session.store).is_empty:
                    print(f"Job {name!r} was not changed.")
                    return
                done = _deploy(session, job, changed)
            except InvalidInput as error:
                if isinstance(error, JobExists) or not _again(str(error), name):
                    raise
            else:
                break
    for line in plans.differences(job, changed):
        print(line)
    plans.warn_authors(done)
    warn_of_lacks(session, [changed])
    warn_of_mail(session, [changed])
    print(f"Changed job {name!r}.")


def _edit_crontab(session: Session, origin: JobOrigin) -> None:
    """Open a crontab at a line; a user's by crontab(1), which installs it."""
    place = [f"+{origin.line}"] if Path(_editor()[0]).name in _TAKE_A_LINE and origin.line else []
    path = PurePath(origin.source)
    if path.parent not in CRONTAB_SPOOLS:
        _run([*_editor(), *place, origin.source])
        if session.mode is Mode.USER:  # nobody watches it
            serve_crontabs(session)
        return
    editor = shlex.join([*_editor(), *place])
    _run(["crontab", "-u", path.name, "-e"], {**os.environ, "VISUAL": editor, "EDITOR": editor})


def _deploy(session: Session, before: Job, changed: Job) -> tuple[CompiledJob, ...]:
    now = session.store.jobs.get(before.name)
    if now != before:
        raise JobExists(f"the job {before.name!r} was changed by somebody else meanwhile")
    return session.deployer.put_all([changed], now=session.now(), replace=True).compiled


def _read(session: Session, file: Path, before: Job) -> Job:
    """The job as it is in the file now; raises ``InvalidInput``."""
    from lunasched.files import configfile
    from lunasched.formats import document

    try:
        with file.open("rb") as opened:
            content = opened.read(document.BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput(f"the editor left no file that could be read: {error}") from error
    # Errors name the job, because the temporary file will be gone.
    read = document.read_document(content, before.name, document.Format.YAML)
    entries = configfile.read_config(read, base=session.settings.defaults).entries
    if len(entries) != 1:
        raise InvalidInput(f"{before.name}: the file has {len(entries)} jobs; keep only this")
    if entries[0].job.name != before.name:
        raise InvalidInput(
            f"{entries[0].place('name')}a job cannot be renamed; "
            "add one with the new name and remove this one"
        )
    return entries[0].job


def _open(file: Path) -> None:
    """Have the editor change the file; raises ``LunaschedError`` if it did not go well."""
    _run([*_editor(), str(file)])


def _run(argv: list[str], environment: Optional[Dict[str, str]] = None) -> None:
    """Run an editor, or crontab(1), which runs one; raises ``LunaschedError`` if it failed."""
    what = "" if argv[0] == "crontab" else "the editor "
    try:
        status = subprocess.run(argv, check=False, env=environment).returncode
    except OSError as error:
        fix = "install it" if argv[0] == "crontab" else "set EDITOR"
        raise LunaschedError(
            f"{what}{argv[0]!r} cannot be started: {error.strerror}; {fix}"
        ) from error
    if status != 0:
        raise LunaschedError(
            f"{what}{argv[0]!r} ended with exit status {status}; nothing was changed"
        )


def _editor() -> list[str]:
    for variable in _VARIABLES:
        words = os.environ.get(variable, "").strip()
        if words:
            return shlex.split(words)
    for program in _EDITORS:
        if shutil.which(program):
            return [program]
    raise LunaschedError("no editor was found; set EDITOR")


def _again(problem: str, name: str) -> bool:
    """Print the errors in a text and ask whether to go on with it; not without a terminal."""
    if not sys.stdin.isatty():
        return False
    print(problem, file=sys.stderr)
    try:
        answer = input(f"Edit {name!r} again? [Y/n] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("", "y", "yes")
