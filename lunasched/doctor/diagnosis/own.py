"""Checks of lunasched itself: its configuration, databases, supervisor and scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from lunasched.doctor.diagnosis.facts import DatabaseFacts, Facts, ManagerFacts, Unseen, WebFacts
from lunasched.doctor.diagnosis.finding import Finding, error, fine, unseen, warning
from lunasched.formats import measures
from lunasched.paths import SUPERVISOR_USER

BEHIND_USEC = 30_000_000
"""The supervisor reads the journal within seconds; 30 of them are no storm any more."""

_OTHERS = 0o007
_WRITABLE = 0o022
_ENABLED = ("enabled", "enabled-runtime", "static", "linked", "alias", "indirect", "generated")


def configuration(facts: Facts) -> Iterator[Finding]:
    """Tell whether the configuration file is valid, and in the right hands."""
    known = facts.settings
    if isinstance(known, Unseen):
        yield unseen("the configuration file", known)
        return
    if known.file is None:
        yield fine("there is no configuration file; everything has its default")
        return
    path = shlex.quote(str(known.file.path))
    found = []
    if known.problem:
        found.append(
            error(
                f"the configuration file is not valid: {known.problem}",
                "the supervisor does not start with it, and no job can be changed",
                f"${{EDITOR:-vi}} {path}",
                f"{facts.systemctl} restart lunasched.service",
                as_root=facts.is_system,
            )
        )
    if known.has_secrets and known.file.mode & _OTHERS:
        found.append(
            error(
                f"{known.file.path} has passwords or other secrets in it and mode "
                f"{known.file.mode:04o}",
                "every user of the machine can read them",
                *_close(facts, path),
                as_root=facts.is_system,
            )
        )
    elif not known.readable_by_supervisor:
        found.append(
            error(
                f"{known.file.path} cannot be read by the user {SUPERVISOR_USER}",
                "the supervisor does not start",
                *_close(facts, path),
                f"{facts.systemctl} restart lunasched.service",
                as_root=facts.is_system,
            )
        )
    yield from found or [fine(f"{known.file.path} is valid")]


def _close(facts: Facts, path: str) -> tuple[str, ...]:
    if facts.is_system:
        return f"chgrp {SUPERVISOR_USER} {path}", f"chmod 0640 {path}"
    return (f"chmod 0600 {path}",)


def definitions(facts: Facts) -> Iterator[Finding]:
    """Look at the database of jobs: whole, and in the right hands."""
    known = facts.definitions
    if isinstance(known, Unseen):
        yield unseen("the database of jobs", known)
        return
    if known.file is None:
        yield fine("there is no database yet; the first job makes it")
        return
    found = [*_definitions_in_wrong_hands(facts, known), *_not_in_order(facts, known)]
    yield from found or [_in_order("the database of jobs", known)]


def history(facts: Facts) -> Iterator[Finding]:
    """Look at the database of runs: whole, and in the right hands."""
    known = facts.history
    if isinstance(known, Unseen):
        yield unseen("the history", known)
        return
    if known.file is None:
        yield fine("there is no history yet; the supervisor makes it")
        return
    found = [*_history_in_wrong_hands(facts, known), *_not_in_order(facts, known)]
    yield from found or [_in_order("the history", known)]


def _in_order(what: str, known: DatabaseFacts) -> Finding:
    if known.problem:
        return unseen(what, Unseen(f"{known.path}: {known.problem}"))
    checked = "whole" if known.checked else "in order, and too large to be read as a whole here"
    return fine(f"{known.path} is {checked}")


def _not_in_order(facts: Facts, known: DatabaseFacts) -> Iterator[Finding]:
    if known.damage:
        check = "history" if known.path == facts.paths.history else "definitions"
        option = "" if facts.is_system else " --user"
        yield error(
            f"{known.path} is damaged: {known.damage}",
            "restore it from a backup; without one, this command keeps it and makes a new one of "
            "what can be read",
            f"lunasched{option} doctor --fix {check}",
            as_root=facts.is_system,
        )
    if known.state in _STATES:
        yield _other_state(facts, known.path, known.state)


_STATES = {
    "older": "is of an earlier version of lunasched",
    "1.x": "is of Lunasched 1.x and has not been taken over yet",
    "2.0": "is of lunasched 2.0 and holds jobs that were not taken over yet",
    "newer": "is of a newer version of lunasched",
    "foreign": "is a database, but not one of lunasched",
}


def _other_state(facts: Facts, path: Path, state: str) -> Finding:
    what = f"{path} {_STATES[state]}"
    if state in ("older", "1.x"):
        return warning(
            what,
            "it is brought up to date when the supervisor starts",
            f"{facts.systemctl} restart lunasched.service",
            as_root=facts.is_system,
        )
    why = "nothing is recorded, and no job can be changed"
    if state == "2.0":
        # The supervisor cannot do that: only root may say which jobs are its own.
        option = "" if facts.is_system else " --user"
        fix = (f"lunasched{option} migrate", f"{facts.systemctl} restart lunasched.service")
        return error(what, why, *fix, as_root=facts.is_system)
    if state == "newer":
        return error(what, f"{why}; upgrade lunasched")
    # Its owner and purpose are unknown, so no command of ours touches it.
    return error(what, f"{why}; somebody put it there: move it away, and restore what was there")


def _definitions_in_wrong_hands(facts: Facts, known: DatabaseFacts) -> Iterator[Finding]:
    assert known.file is not None
    owner = "root" if facts.is_system else facts.user
    path = shlex.quote(str(known.path))
    if known.file.owner != owner:
        yield error(
            f"{known.path} belongs to {known.file.owner}, not to {owner}",
            f"{known.file.owner} decides which jobs run, and as which user; review all jobs",
            f"chown {owner} {path}",
            as_root=True,
        )
    elif known.file.mode & _WRITABLE:
        yield error(
            f"{known.path} has mode {known.file.mode:04o}",
            "other users can decide which jobs run, and as which user",
            f"chmod go-w {path}",
            as_root=facts.is_system,
        )
    elif known.file.mode & _OTHERS:
        yield error(
            f"{known.path} has mode {known.file.mode:04o}",
            "every user of the machine can read the secrets of jobs",
            f"chmod o= {path}",
            as_root=facts.is_system,
        )
    elif facts.is_system and known.file.group != SUPERVISOR_USER and facts.has_supervisor_user:
        yield error(
            f"{known.path} cannot be read by the group {SUPERVISOR_USER}",
            "the supervisor cannot read the jobs: no run is recorded",
            f"chgrp {SUPERVISOR_USER} {path}",
            f"chmod 0640 {path}",
            f"{facts.systemctl} restart lunasched.service",
            as_root=True,
        )


def _history_in_wrong_hands(facts: Facts, known: DatabaseFacts) -> Iterator[Finding]:
    assert known.file is not None
    owner = SUPERVISOR_USER if facts.is_system else facts.user
    if known.file.owner != owner:
        yield error(
            f"{known.path} belongs to {known.file.owner}, not to {owner}",
            "the supervisor cannot write to it: no run is recorded",
            # systemd restores the owner of the whole directory, and follows no link in it.
            f"{facts.systemctl} stop lunasched.service",
            f"chown root {shlex.quote(str(known.path.parent))}",
            f"{facts.systemctl} start lunasched.service",
            as_root=True,
        )
    shut = known.directory is not None and not known.directory.mode & _OTHERS
    if known.file.mode & _OTHERS and not shut:
        yield error(
            f"{known.path} has mode {known.file.mode:04o}",
            "every user of the machine can read what jobs print",
            *_as_owner(facts, known.path, f"chmod o= {_NAME}*"),
            as_root=facts.is_system,
        )


# In the scripts that are run in the directory of a database.
_NAME = '"$0"'


def _as_owner(facts: Facts, path: Path, script: str) -> tuple[str, ...]:
    """A command that runs a script in the directory of a database, with its owner's rights.

    Root would follow the links that the supervisor can put there. Neither is it a program on
    root's terminal: whoever can trace it could type there.
    """
    line = f"cd {shlex.quote(str(path.parent))} && {script}"
    command = f"sh -c {shlex.quote(line)} {shlex.quote(path.name)}"
    if facts.is_system and path == facts.paths.history:
        return (
            f"systemd-run --quiet --wait --uid={SUPERVISOR_USER} --gid={SUPERVISOR_USER} {command}",
        )
    return (command,)


def supervisor(facts: Facts) -> Iterator[Finding]:
    """Tell whether the supervisor runs, and will after a boot."""
    manager = facts.manager
    if not facts.has_supervisor_user:
        yield error(
            f"there is no user {SUPERVISOR_USER}, which the supervisor runs as",
            "no run is recorded; retries and hooks are not started",
            "systemd-sysusers",
            "systemctl restart lunasched.service",
            as_root=True,
        )
    running = not isinstance(facts.recording, Unseen) and facts.recording.running
    if isinstance(manager, Unseen):
        if isinstance(facts.recording, Unseen):
            yield unseen("the supervisor", facts.recording)
        elif running:
            yield fine("the supervisor runs")
        else:
            yield error("the supervisor does not run", _WITHOUT_SUPERVISOR)
        return
    unit = manager.units.get("lunasched.service")
    if unit is not None and unit.active in ("active", "reloading"):
        yield from _for_good(facts, manager)
        yield from _start_socket(facts, manager)
    elif running and unit is None:
        yield fine("a supervisor runs, but not as lunasched.service")
    else:
        yield _down(facts, manager, unit.active if unit else "inactive", unit.sub if unit else "")


_WITHOUT_SUPERVISOR = (
    "jobs run without it, and are recorded once it runs; until then there are no "
    "retries, hooks or notifications, and Exclusive and dependent jobs wait"
)


def _start_socket(facts: Facts, manager: ManagerFacts) -> Iterator[Finding]:
    """The system's supervisor has units started through a socket; a user's asks systemd itself."""
    socket = manager.units.get("lunasched-start.socket")
    if facts.is_system and (socket is None or socket.active != "active"):
        yield error(
            "the supervisor cannot start anything: lunasched-start.socket does not listen",
            "retries, hooks, waiting jobs and dependent jobs are not started",
            "systemctl restart lunasched-start.socket",
            as_root=True,
        )


def _for_good(facts: Facts, manager: ManagerFacts) -> Iterator[Finding]:
    if manager.supervisor in _ENABLED:
        yield fine("the supervisor runs, and starts at boot")
    else:
        when = "boot" if facts.is_system else "login"
        yield warning(
            f"the supervisor runs, but will not start after the next {when}",
            _WITHOUT_SUPERVISOR,
            f"{facts.systemctl} enable lunasched.service",
            as_root=facts.is_system,
        )


def _down(facts: Facts, manager: ManagerFacts, active: str, sub: str) -> Finding:
    root = facts.is_system
    log = "journalctl -u" if root else "journalctl --user -u"
    if not manager.supervisor:
        return error(
            "systemd does not know lunasched.service",
            _WITHOUT_SUPERVISOR,
            f"{facts.systemctl} daemon-reload",
            f"{facts.systemctl} enable --now lunasched.service",
            as_root=root,
        )
    if manager.supervisor == "masked":
        return error(
            "lunasched.service is masked",
            _WITHOUT_SUPERVISOR,
            f"{facts.systemctl} unmask lunasched.service",
            f"{facts.systemctl} enable --now lunasched.service",
            as_root=root,
        )
    if active == "activating" and sub.startswith("start"):
        return fine("the supervisor is starting")
    if active in ("failed", "activating"):
        again = ", and systemd starts it again" if active == "activating" else ""
        return error(
            f"the supervisor has failed ({sub}){again}; "
            f"{log} lunasched.service -n 20 --no-pager says why",
            _WITHOUT_SUPERVISOR,
            f"{facts.systemctl} restart lunasched.service",
            as_root=root,
        )
    severity = error if facts.has_jobs else warning
    return severity(
        "the supervisor does not run",
        _WITHOUT_SUPERVISOR,
        f"{facts.systemctl} enable --now lunasched.service",
        as_root=root,
    )


def recording(facts: Facts) -> Iterator[Finding]:
    """Tell whether the supervisor keeps up with the journal."""
    known = facts.recording
    if isinstance(known, Unseen):
        yield unseen("how far runs are recorded", known)
        return
    since = known.unrecorded_since
    if isinstance(since, Unseen):
        yield unseen("how far runs are recorded", since)
        return
    behind = 0 if since is None else facts.now - since
    if behind < BEHIND_USEC:
        yield fine("runs are recorded up to now")
        return
    yield error(
        f"runs of the last {_span(behind)} are not recorded",
        "the history lacks them, and their retries, hooks and notifications wait",
        f"{facts.systemctl} {'restart' if known.running else 'start'} lunasched.service",
        as_root=facts.is_system,
    )


def _span(usec: int) -> str:
    seconds = usec // 1_000_000
    for unit in (measures.DAY, measures.HOUR, measures.MINUTE):
        if seconds >= 2 * unit.seconds:
            return f"{seconds // int(unit.seconds)} {unit.noun}s"
    return f"{seconds} seconds"


def web(facts: Facts) -> Iterator[Finding]:
    """Tell whether the status page and the metrics are served at the configured address."""
    known = facts.web
    if isinstance(known, Unseen):
        yield unseen("the status page", known)
        return
    running = not isinstance(facts.recording, Unseen) and facts.recording.running
    if not known.wanted:
        yield _unwanted(facts, known)
        return
    if not running:
        return
    owner = SUPERVISOR_USER if facts.is_system else facts.user
    if owner in known.held_by:
        yield fine(f"the status page is at {known.where}")
    elif known.held_by:
        yield warning(
            f"{known.where}, the address of the status page, is used by a program of "
            f"{', '.join(known.held_by)}",
            "there is no page, and there are no metrics; as root, 'ss -ltnp' shows what listens",
            _edit(facts),
            f"{facts.systemctl} restart lunasched.service",
            as_root=facts.is_system,
        )
    else:
        yield warning(
            f"nothing listens at {known.where}, the address of the status page",
            "there is no page, and there are no metrics; the port was taken when the supervisor "
            "started, or the address is not one of this machine",
            f"{facts.systemctl} restart lunasched.service",
            as_root=facts.is_system,
        )


def _unwanted(facts: Facts, known: WebFacts) -> Finding:
    if not known.is_described:
        return fine("the status page is off (web.enabled)")
    return warning(
        "the configuration describes a status page and does not turn it on",
        "there is no page, and there are no metrics, unless web.enabled is true; remove the "
        "section web if you want none",
        _edit(facts),
        f"{facts.systemctl} restart lunasched.service",
        as_root=facts.is_system,
    )


def _edit(facts: Facts) -> str:
    return f"${{EDITOR:-vi}} {shlex.quote(str(facts.paths.settings))}"


def notifications(facts: Facts) -> Iterator[Finding]:
    """Tell whether notifications of the last week were delivered."""
    known = facts.notifications
    if isinstance(known, Unseen):
        yield unseen("notifications", known)
    elif known.failed:
        yield warning(
            f"{known.failed} notifications of the last week were given up; the latest was "
            f"{known.latest}",
            f"nobody received them; '{facts.lunasched} notifications --failed' "
            "shows them, and 'lunasched notify-test' tries a channel",
        )
    else:
        yield fine("no notification of the last week was given up")


def scripts(facts: Facts) -> Iterator[Finding]:
    """Tell whether the scripts are there that units run."""
    if not facts.missing_scripts:
        yield fine(f"the scripts that units run are in {facts.scripts}")
        return
    yield error(
        f"in {facts.scripts} there is no {', '.join(facts.missing_scripts)}",
        "slots may run twice, and hooks and Parallel jobs fail",
        *facts.reinstall,
        as_root=True,
    )
