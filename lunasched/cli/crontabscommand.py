"""The command that makes jobs of the machine's crontabs, in the place of cron."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Mapping, Optional, Sequence

import typer

from lunasched.cli import plans, render
from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, JournalError
from lunasched.machine import crontabs as machine_crontabs
from lunasched.machine import faultmails
from lunasched.paths import Mode, user_name
from lunasched.units.commandchannels import SENDMAIL

if TYPE_CHECKING:
    from lunasched.deploy.plan import Entries, Plan
    from lunasched.deploy.servedcrontabs import CrontabFault
    from lunasched.jobs.model import Job
    from lunasched.jobs.origin import JobOrigin
    from lunasched.machine.crontabs import FoundCrontab, Ignored
    from lunasched.store.jobtable import JobTable
    from lunasched.systemd.cronrecords import CronEnd

_TAKEOVER_USEC = 3600 * 1_000_000
"""A cron that was stopped longer ago was stopped for good."""


@app.command()
def crontabs(
    ctx: typer.Context,
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the plan, change nothing."),
    release: bool = typer.Option(
        False, "--release", help="Remove the jobs of all crontabs, for cron to run them."
    ),
    take_over: bool = typer.Option(
        False,
        "--take-over",
        help="Also start, once, what was due since cron was stopped, within the last hour.",
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Make the jobs of the crontabs what these say, in the place of cron."""
    session = Session.choose(chosen_mode(ctx, system))
    if take_over and (release or dry_run or session.mode is Mode.USER):
        raise InvalidInput(
            "--take-over starts jobs of the system: it goes with neither --release nor --dry-run "
            "nor --user"
        )
    serve_crontabs(session, dry_run=dry_run, release=release, take_over=take_over)


def serve_crontabs(
    session: Session, *, dry_run: bool = False, release: bool = False, take_over: bool = False
) -> None:
    """Make the jobs of the crontabs of a session's manager what these say, and print the plan."""
    from lunasched.deploy.servedcrontabs import serve

    found = [] if release else _found(session)
    if not release and not dry_run and session.mode is Mode.SYSTEM:
        _check_no_cron(session)

    def put(entries: Callable[[JobTable], Mapping[str, Entries]]) -> Plan:
        if dry_run:
            return _planned(session, entries)
        return session.deployer.put_sources(entries, now=session.now()).plan

    def forget(jobs: Sequence[str]) -> None:
        if not dry_run:
            session.deployer.forget_adopted(jobs, now=session.now())

    # Asked before jobs come: what is due from now on is theirs.
    ended = _cron_ended(session.now()) if take_over else None
    read = [(one.data, one.source()) for one in found if not one.ignored]
    wanted, faults = serve(put, read, forget)
    plans.show(wanted)
    words = ("to add", "to change", "to remove") if dry_run else ("added", "changed", "removed")
    print(f"{'Plan' if dry_run else 'Done'}: {plans.counted(wanted, words)}.")
    if ended is not None:
        _make_up(session, wanted.added, ended)
    if found and not machine_crontabs.can_mail():
        note = f"note: there is no {SENDMAIL}: what jobs print is in the history, and not mailed"
        print(note, file=sys.stderr)
    unread = {one.path: _why_unread(one.ignored) for one in found if one.ignored is not None}
    for path, reason in unread.items():
        _warn(f"{path} {reason}")
    for fault in faults:
        place = f"{fault.source}:{fault.line}" if fault.line else fault.source
        _warn(f"{place}: {fault.message}")
    if session.mode is Mode.USER or dry_run:
        return
    if release:
        faultmails.forget_letters()
    else:
        _mail_faults(faults, unread)


@app.command("adopt-crontab")
def adopt_crontab(
    ctx: typer.Context,
    name: list[str] = typer.Argument(
        ..., metavar="NAME", help="Names of jobs of crontabs.", show_default=False
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Make jobs of crontabs jobs of no crontab, and comments of their lines there."""
    session = Session.choose(chosen_mode(ctx, system))
    origins = session.deployer.adopt_entries(dict.fromkeys(name), now=session.now())
    done: list[str] = []
    for path in dict.fromkeys(origin.source for origin in origins.values()):
        of_file = {each: origin for each, origin in origins.items() if origin.source == path}
        try:
            machine_crontabs.comment_out(
                Path(path), {origin.line: origin.text for origin in of_file.values()}
            )
        except (OSError, ValueError) as error:
            _warn(f"{path}: {error}; make a comment of what was adopted, or cron would run it, too")
        else:
            done += of_file
        for each, origin in of_file.items():
            said = f", and {origin.label} is a comment" if each in done else ""
            print(f"Adopted {each!r}: it is a job of no crontab now{said}.")
    session.deployer.forget_adopted(done, now=session.now())


@app.command("serve-usercrontab", hidden=True)
def serve_usercrontab() -> None:
    """Answer one request of crontab(1), on standard input (lunasched-usercrontab@.service)."""
    from lunasched.usercrontab import spoolservice

    raise typer.Exit(spoolservice.main())


def _found(session: Session) -> list[FoundCrontab]:
    """The crontabs whose entries are jobs of the session's manager."""
    if session.mode is Mode.USER:
        return machine_crontabs.crontab_of_manager(session.paths.crontab, user_name())
    return machine_crontabs.of_machine()


def _cron_ended(now: int) -> CronEnd | None:
    """Return the end of a cron that was stopped a while ago; ``now`` is in µs UTC."""
    from lunasched.systemd.cronrecords import cron_end

    try:
        return cron_end(machine_crontabs.CRONS, since=now - _TAKEOVER_USEC)
    except JournalError as error:
        _warn(f"what was due since cron was stopped is not started: {error}")
        return None


def _make_up(session: Session, jobs: Sequence[Job], ended: CronEnd) -> None:
    from lunasched.deploy.lostslots import lost_slots, start_lost

    store, manager, now = session.store, session.manager, session.now()
    origins, zone = store.jobs.origins([job.name for job in jobs]), session.host_timezone
    nobodys = ((job, _nobodys_since(origins[job.name], ended, zone)) for job in jobs)
    lost = lost_slots(nobodys, store, manager, zone, until=now)
    number = start_lost(lost, store, manager, now=now)
    print(f"Started {number} of them, which were due since cron was stopped.")


def _why_unread(ignored: Ignored) -> str:
    fix = f"; to have it read: {ignored.fix}" if ignored.fix else ""
    return f"is not read: {ignored.reason}{fix}"


def _mail_faults(faults: Sequence[CrontabFault], unread: Mapping[str, str]) -> None:
    """Mail what is not run to whom cron would mail what it prints, and what is not read to root.

    ``unread`` are the crontabs that are not read, by path, and why.
    """
    if not machine_crontabs.can_mail():
        return
    entries = [
        faultmails.UnrunEntry(
            fault.source, fault.line, fault.text, fault.message, fault.user, fault.mailed_to
        )
        for fault in faults
        if fault.mailed_to
    ]
    entries += [
        faultmails.UnrunEntry(path, 0, "", reason, "root", "root")
        for path, reason in unread.items()
    ]
    try:
        faultmails.mail(entries, os.uname().nodename)
    except OSError as error:
        _warn(f"what is not run is mailed to nobody: {error}")


def _nobodys_since(origin: JobOrigin, ended: CronEnd, host_timezone: str) -> int:
    """Return since when nobody starts an entry (µs, UTC): anacron did so once a day."""
    from lunasched.history import slot
    from lunasched.transfer.crontab.cronlog import is_start_of

    day = machine_crontabs.anacron_day(origin.source, origin.text)
    if day is not None:
        return slot.end_of_day(day, host_timezone)
    # All scripts of a directory are started as one.
    return ended.acted_until(lambda said: is_start_of(origin, said), alone=bool(origin.line))


def _warn(text: str) -> None:
    print(f"warning: {render.printable(text)}", file=sys.stderr)


def _check_no_cron(session: Session) -> None:
    """Refuse to start what cron starts as well."""
    for unit in machine_crontabs.CRONS:
        state = session.manager.state(unit)
        if state is not None and state.is_active:
            raise InvalidInput(
                f"cron is running ({unit}), and each entry would run twice; to have lunasched run "
                f"them: systemctl disable --now {unit}"
            )


def _planned(session: Session, entries: Callable[[JobTable], Mapping[str, Entries]]) -> Plan:
    from lunasched.deploy.plan import plan_sources

    wanted = plan_sources(entries(session.store_as_is.jobs), session.store_as_is)
    plans.check_plan(session, wanted)
    return wanted
