"""The check of the service manager: it answers, and is new enough."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen, seen
from lunasched.doctor.finding import error, fine, warning
from lunasched.paths import Mode, lacks_bus, runtime_directory

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding

SYSTEMD_TESTED = 252
"""The oldest that the tests run on."""
SYSTEMD_NEEDED = 240
"""``Type=exec``: without it time limits and missing programs go unnoticed."""


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """A loaded unit as the service manager lists it."""

    load: str
    active: str
    sub: str


@dataclass(frozen=True, slots=True)
class ManagerFacts:
    """The state of the service manager."""

    version: str
    units: Mapping[str, UnitSeen]
    """The loaded units of ours, and those of cron and polkit."""
    supervisor: str
    """The answer of ``systemctl is-enabled lunasched.service``; empty where there is no such
    unit."""
    unread: tuple[str, ...] | Unseen
    """The units of ours whose files are newer than what the manager has read."""

    def is_active(self, unit: str) -> bool:
        """Tell whether one of the units is active."""
        return unit in self.units and self.units[unit].active == "active"


SUPERVISOR = "lunasched.service"

_PATTERNS = (
    "lunasched-job@*",
    "lunasched*.service",
    "lunasched*.timer",
    "lunasched*.socket",
    "lunasched*.path",
    "cron*.service",
)
# One call each: more than this would take a second.
_UNREAD_MAX = 1000
_DPKG = Path("/var/lib/dpkg")
_BUS_PACKAGE = ("apt-get install dbus-user-session",)


def look(mode: Mode) -> ManagerFacts:
    """Ask the service manager for its version, and for our units."""
    from lunasched.systemd.manager import Manager

    manager = Manager.connect(mode)
    states = manager.states(*_PATTERNS)
    units = {
        name: UnitSeen(state.load, state.active, state.sub)
        for name, state in states.items()
        # A manager also lists units that do not exist but are referred to.
        if state.load != "not-found" or state.active != "inactive"
    }
    ours = [name for name in units if name.startswith("lunasched")]
    unread: tuple[str, ...] | Unseen
    if len(ours) > _UNREAD_MAX:
        unread = Unseen(
            f"there are more than {_UNREAD_MAX} units; 'systemctl status' shows it for one"
        )
    else:
        unread = seen(lambda: tuple(manager.stale(ours)))
    return ManagerFacts(manager.version(), units, manager.file_state(SUPERVISOR), unread)


def look_for_bus(mode: Mode) -> bool:
    """Tell if the user's manager runs without D-Bus; in system mode, never."""
    return mode is Mode.USER and lacks_bus(runtime_directory(os.environ))


def look_for_bus_package() -> tuple[str, ...]:
    """The command that installs D-Bus for users' managers, where that is a package of its own."""
    return _BUS_PACKAGE if _DPKG.exists() else ()


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the service manager answers, and is new enough."""
    if isinstance(facts.manager, Unseen):
        yield _no_manager(facts, facts.manager)
        return
    version = facts.manager.version
    found = re.match(r"\d+", version)
    number = int(found[0]) if found else 0
    if number < SYSTEMD_NEEDED:
        yield error(
            f"systemd {version} is older than {SYSTEMD_NEEDED}",
            "time limits do not work, and a missing program is taken for a success",
        )
    elif number < SYSTEMD_TESTED:
        yield warning(
            f"systemd {version} is older than {SYSTEMD_TESTED}, the oldest that is tested",
            "it may write records that the supervisor does not read",
        )
    else:
        yield fine(f"systemd {version} answers")


def _no_manager(facts: Facts, reason: Unseen) -> Finding:
    if facts.mode is Mode.SYSTEM:
        return error(
            f"systemd does not answer: {reason.reason}",
            "jobs can neither be added nor shown",
            "systemctl start dbus.socket",
            as_root=True,
        )
    restart = f'systemctl restart "user@$(id -u {facts.user}).service"'
    if facts.lacks_bus:
        return error(
            "your own systemd manager runs and has no D-Bus",
            "you can neither add nor show jobs; a restart of the manager ends what it runs",
            *facts.bus_package,
            restart,
            as_root=True,
        )
    what = f"your own systemd manager does not answer: {reason.reason}"
    why = "your jobs do not run until it does"
    if facts.user.isdecimal():
        # No user without a name can have one.
        return error(what, why)
    if facts.lingers:
        # With lingering it should run whether the user is logged in or not.
        return error(what, why, restart, as_root=True)
    return error(what, why, f"loginctl enable-linger {facts.user}")
