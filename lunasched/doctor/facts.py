"""The facts that checks look at, without any judgement.

What could not be seen is an ``Unseen`` with the reason, in the place of the fact.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError
from lunasched.machine import host
from lunasched.paths import SUPERVISOR_USER, Mode

if TYPE_CHECKING:
    from lunasched.doctor.calendarcheck import CalendarFacts
    from lunasched.doctor.clockcheck import ClockFacts
    from lunasched.doctor.configurationcheck import SettingsFacts
    from lunasched.doctor.croncheck import CronFacts
    from lunasched.doctor.crontabcheck import ServedFacts
    from lunasched.doctor.databasecheck import DatabaseFacts
    from lunasched.doctor.diskcheck import ClosedFacts, DiskFacts
    from lunasched.doctor.journalcheck import JournalFacts
    from lunasched.doctor.mailcheck import MailFacts
    from lunasched.doctor.notificationcheck import NotificationFacts
    from lunasched.doctor.overruncheck import OverrunFacts
    from lunasched.doctor.polkitcheck import PolkitFacts
    from lunasched.doctor.recordingcheck import RecordingFacts
    from lunasched.doctor.servicemanagercheck import ManagerFacts
    from lunasched.doctor.unitcheck import DeployedFacts
    from lunasched.doctor.webcheck import WebFacts
    from lunasched.doctor.zonecheck import ZoneFacts
    from lunasched.paths import Paths
    from lunasched.units.needs import Lack


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something that could not be looked at, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The owner of a file, and the users who may read it."""

    path: Path
    owner: str
    group: str
    mode: int

    @property
    def is_readable_by_supervisor(self) -> bool:
        """True if the system's supervisor may read it, as far as its mode tells."""
        return bool(
            self.mode & 0o004
            or (self.group == SUPERVISOR_USER and self.mode & 0o040)
            or (self.owner == SUPERVISOR_USER and self.mode & 0o400)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it."""

    mode: Mode
    user: str
    """The name of who is asking."""
    now: int
    """Microseconds since the epoch, UTC."""
    host_timezone: str
    paths: Paths
    manager: ManagerFacts | Unseen
    cgroup: str
    """``v2``, ``v1`` or ``hybrid``."""
    controllers: frozenset[str] | Unseen
    """The controllers of cgroup v2 that jobs' limits have to work with."""
    clock: ClockFacts | Unseen
    zones: ZoneFacts
    calendars: CalendarFacts
    journal: JournalFacts | Unseen
    polkit: PolkitFacts | Unseen | None
    """``None`` in user mode."""
    lingers: bool | None
    """``None`` in system mode, and where it cannot be seen."""
    lacks_bus: bool
    """True if the user's manager runs without D-Bus; in system mode, never."""
    disks: tuple[DiskFacts, ...]
    closed: tuple[ClosedFacts, ...]
    """The directories of units, jobs and runs that cannot be written."""
    settings: SettingsFacts | Unseen
    definitions: DatabaseFacts | Unseen
    """The database of jobs."""
    history: DatabaseFacts | Unseen
    """The database of runs."""
    recording: RecordingFacts | Unseen
    web: WebFacts | Unseen
    notifications: NotificationFacts | Unseen
    mail: MailFacts | Unseen
    overruns: tuple[OverrunFacts, ...] | Unseen
    scripts: Path
    missing_scripts: tuple[str, ...]
    deployed: DeployedFacts | Unseen
    cron: CronFacts | Unseen
    crontabs: ServedFacts | Unseen | None
    """``None`` where lunasched runs no crontabs."""
    lacks: tuple[Lack, ...] | Unseen = ()
    """Things that jobs need and that are not there."""
    in_container: bool = False
    has_supervisor_user: bool = True
    """True if there is the user that the system's supervisor runs as; in user mode, always."""
    reinstall: tuple[str, ...] = ()
    """The command that installs lunasched once more, by what has installed it."""
    bus_package: tuple[str, ...] = ()
    """The command that installs D-Bus for users' managers, where that is a package of its own."""

    @property
    def systemctl(self) -> str:
        """``systemctl`` for the manager in question."""
        return "systemctl" if self.mode is Mode.SYSTEM else "systemctl --user"

    @property
    def lunasched(self) -> str:
        """``lunasched`` for the mode in question."""
        return f"lunasched --{self.mode.value}"

    @property
    def has_jobs(self) -> bool:
        """True if there are jobs, as far as could be seen."""
        return isinstance(self.deployed, Unseen) or bool(self.deployed.jobs)

    @property
    def is_system(self) -> bool:
        """True if it is about the system's jobs, which root alone can fix."""
        return self.mode is Mode.SYSTEM


_T = TypeVar("_T")


def seen(look: Callable[[], _T]) -> _T | Unseen:
    """Return what ``look`` sees, or why it sees nothing."""
    try:
        return look()
    except LunaschedError as error:
        return Unseen(str(error))
    except ImportError as error:
        return Unseen(f"the Python module {error.name!r} is missing; install python3-{error.name}")
    except PermissionError as error:
        return Unseen(f"{error.filename}: this user may not read it")
    except OSError as error:
        return Unseen(f"{error.filename or ''}: {error.strerror}".removeprefix(": "))


def file_seen(path: Path) -> FileFacts | None:
    """Return the owner and the mode of a file, or None if there is none."""
    found = host.file_facts(path)
    return FileFacts(path, found.owner, found.group, found.mode) if found else None


NO_DATABASE = Unseen("the database cannot be read")
