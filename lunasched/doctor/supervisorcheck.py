"""The check of the supervisor: it runs, and will after a boot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, unseen, warning
from lunasched.paths import SUPERVISOR_USER

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import ManagerFacts

_ENABLED = ("enabled", "enabled-runtime", "static", "linked", "alias", "indirect", "generated")


def judge(facts: Facts) -> Iterator[Finding]:
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
    if active == "deactivating":
        # For a moment, where it is being restarted or has failed.
        return warning(
            "the supervisor is stopping",
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
