"""The command that makes jobs of a crontab."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

import typer

from lunasched.cli import plans, render
from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.firstuse import after_adding
from lunasched.cli.mailwarning import warn_of_mail
from lunasched.cli.needswarning import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, InvalidJobs, PermissionDenied
from lunasched.machine.crontabs import Users
from lunasched.paths import CRONTAB_SPOOLS, Mode, user_name

if TYPE_CHECKING:
    from lunasched.deploy.plan import Plan
    from lunasched.jobs.model import Job
    from lunasched.transfer.crontab import CronFormat, Crontab, CrontabEntry, CrontabSource
    from lunasched.units.compiler import CompiledJob

_CRON_D = "cron.d"
_SYSTEM_CRONTAB = Path("/etc/crontab")


@app.command("import-crontab")
def import_crontab(
    ctx: typer.Context,
    file: Optional[str] = typer.Argument(
        None,
        metavar="[FILE]",
        help="The crontab, or - for standard input.  [default: your own, by crontab -l]",
        show_default=False,
    ),
    system_format: Optional[bool] = typer.Option(
        None,
        "--system-format/--user-format",
        help="Each line names a user before its command.  [default: by the path of FILE]",
        show_default=False,
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the plan, change nothing."),
    replace: bool = typer.Option(False, "--replace", help="Change jobs that exist."),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Make a job of each entry of a crontab, and list the differences from cron."""
    from lunasched.transfer import crontab

    session = Session.choose(chosen_mode(ctx, system))
    data, source = _opened(file, system_format, session)
    found = crontab.read_crontab(data, source)
    label = render.printable(source.label)
    if found.problems:
        raise InvalidInput("\n".join((*map(render.printable, found.problems), _NOTHING)))
    if not found.entries:
        print(f"{label}: there are no entries.")
        return
    jobs = [_as_it_is_enabled(session, entry.job) for entry in found.entries]
    try:
        wanted, compiled = _changed(session, jobs, dry_run=dry_run, replace=replace)
    except InvalidJobs as error:
        lines = {entry.job.name: entry.line for entry in found.entries}
        faults = (f"{label}:{lines[name]}: {fault}" for name, fault in error.faults)
        raise InvalidInput("\n".join((*faults, _NOTHING))) from error
    _print_report(found, wanted)
    words = ("to add", "to change", "to remove") if dry_run else ("added", "changed", "removed")
    print(f"{'Plan' if dry_run else 'Done'}: {plans.counted(wanted, words)}.")
    plans.warn_authors(compiled)
    warn_of_lacks(session, wanted.put)
    warn_of_mail(session, wanted.put)
    _note_gone(session, jobs, source)
    if not dry_run:
        print(f"cron still runs these entries; to disable them there: {_off(source, found)}")
        after_adding(session)


_NOTHING = "nothing was imported"


# Reading


def _finds(word: str, path: Optional[str]) -> bool:
    """Tell whether a program of this name is there, in ``PATH`` or where Debian's cron looks."""
    return shutil.which(word, path=path or "/usr/bin:/bin") is not None


def _opened(
    file: Optional[str], system_format: Optional[bool], session: Session
) -> Tuple[bytes, CrontabSource]:
    """The crontab, and what it is."""
    from lunasched.transfer.crontab import CronFormat, CrontabSource

    caller = user_name() if session.mode is Mode.USER else None
    users = Users()
    path = None if file in (None, "-") else Path(str(file)).resolve()
    format_, user, prefix = CronFormat.USER, None, ""
    if path is not None and system_format is None:
        if path.name == "anacrontab":
            format_ = CronFormat.ANACRON
        elif path.parent.name == _CRON_D or path == _SYSTEM_CRONTAB:
            format_ = CronFormat.SYSTEM
    elif system_format:
        format_ = CronFormat.SYSTEM
    if path is not None and path.parent.name == _CRON_D:
        prefix = path.name
        if not re.fullmatch(r"[A-Za-z0-9_-]+", prefix):
            print(
                f"note: Debian's cron ignores {render.printable(str(file))}, because names there "
                "have only letters, digits, '_' and '-'",
                file=sys.stderr,
            )
    if path is not None and path.parent in CRONTAB_SPOOLS and format_ is CronFormat.USER:
        user = path.name
    if user is not None and user not in users:
        raise InvalidInput(f"{file}: the crontab belongs to a user {user!r}, who does not exist")
    data = _data(file, path)
    if path is not None and system_format is None and path.name == "crontab":
        format_ = _guessed(str(file), path, data, users)
    source = CrontabSource(
        label="crontab -l" if file is None else file,
        format=format_,
        prefix=prefix,
        user=user,
        caller=caller,
        users=users,
        finds=_finds,
        is_guess=file is not None and system_format is None and user is None,
        tag=_tag(file, path),
    )
    return data, source


def _guessed(file: str, path: Path, data: bytes, users: Users) -> CronFormat:
    """The format of a file that is called crontab: by its place or, said, by its lines."""
    from lunasched.transfer.crontab import CronFormat, format_by_content

    if path == _SYSTEM_CRONTAB:
        return CronFormat.SYSTEM
    guess = format_by_content(data, users)
    what, other = "a user's own crontab", "--system-format"
    if guess is CronFormat.SYSTEM:
        what, other = "a crontab with a user before each command", "--user-format"
    print(
        f"note: {render.printable(file)} looks like {what}; if it is not, use {other}",
        file=sys.stderr,
    )
    return guess


def _tag(file: Optional[str], path: Optional[Path]) -> str:
    """Return the tag that names the import of jobs, if it is known."""
    where = str(path) if path is not None else "" if file == "-" else "own"
    return f"crontab:{where}" if where and where.isprintable() and "," not in where else "crontab"


def _data(file: Optional[str], path: Optional[Path]) -> bytes:
    from lunasched.transfer.crontab.lines import SIZE_MAX

    if file is None:
        return _own_crontab()
    try:
        if path is None:
            return sys.stdin.buffer.read(SIZE_MAX + 1)
        with path.open("rb") as stream:
            return stream.read(SIZE_MAX + 1)
    except IsADirectoryError:
        raise InvalidInput(f"{file}: it is a directory; import its files one by one") from None
    except PermissionError as error:
        raise PermissionDenied(f"{file}: {error.strerror}") from error
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from error


def _own_crontab() -> bytes:
    """Return the output of ``crontab -l``: the crontab of whoever calls, root's own as root."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["crontab", "-l"], capture_output=True, check=False, env=environment, timeout=30
        )
    except FileNotFoundError:
        raise InvalidInput(
            "there is no program 'crontab' that would show your crontab; name a file"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidInput(f"crontab -l: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise InvalidInput(f"crontab -l: {said}; name a file to import another crontab")
    return done.stdout


# Deploying


def _as_it_is_enabled(session: Session, job: Job) -> Job:
    """A job that was imported before stays enabled or disabled, as it is."""
    before = session.store_as_is.jobs.get(job.name)
    return job if before is None else job.evolve(enabled=before.enabled)


def _changed(
    session: Session, jobs: List[Job], *, dry_run: bool, replace: bool
) -> Tuple[Plan, Tuple[CompiledJob, ...]]:
    """Deploy the jobs; return what was done, or with ``dry_run`` would be."""
    from lunasched.deploy.plan import plan

    if dry_run:
        wanted = plan(jobs, session.store_as_is)
        return wanted, plans.check_plan(session, wanted)
    done = session.deployer.put_all(jobs, now=session.now(), replace=replace)
    return done.plan, done.compiled


# Printing


def _print_report(found: Crontab, wanted: Plan) -> None:
    states = {job.name: "new" for job in wanted.added}
    states |= {job.name: "changed" for _, job in wanted.changed}
    states |= {job.name: "unchanged" for job in wanted.unchanged}
    for entry in found.entries:
        print(f"{entry.job.name} ({states[entry.job.name]}, line {entry.line})")
        print(f"    {render.printable(_summary(entry))}")
        for difference in entry.differences:
            print(f"    - {render.printable(difference)}")
    print("All of them:")
    for difference in found.differences:
        print(f"    - {difference}")


def _summary(entry: CrontabEntry) -> str:
    job = entry.job
    zone = f" ({job.timezone})" if job.timezone else ""
    user = f" as {job.user}" if job.user else ""
    return f"{job.schedule}{zone}{user}: {render.one_line(render.command_text(job.command), 70)}"


def _note_gone(session: Session, jobs: List[Job], source: CrontabSource) -> None:
    """Jobs of an earlier import whose entries are gone."""
    if ":" not in source.tag:
        return
    names = {job.name for job in jobs}
    for job in session.store_as_is.jobs.all():
        if source.tag in job.tags and job.name not in names:
            print(
                f"note: {job.name!r} was imported from here before, and its entry is gone; "
                f"to remove the job: lunasched remove {shlex.quote(job.name)}",
                file=sys.stderr,
            )


def _off(source: CrontabSource, found: Crontab) -> str:
    """Return how to keep cron from running what was imported."""
    path = shlex.quote(source.label)
    if source.label == "crontab -l" or source.user is not None:
        whose = f"-u {source.user} " if source.user else ""
        return f"crontab {whose}-l >crontab.saved && crontab {whose}-r"
    if source.label == "-":
        return "remove them from the crontab that they came from"
    if source.prefix:
        return f"mv {path} /root/"
    lines = ";".join(f"{entry.line}s/^/#/" for entry in found.entries)
    return f"sed -i '{lines}' {path}"
