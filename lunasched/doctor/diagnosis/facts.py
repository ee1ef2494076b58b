"""The facts that checks look at, without any judgement.

What could not be seen is an ``Unseen`` with the reason, in the place of the fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lunasched.jobs.model import Job
from lunasched.paths import Mode, Paths
from lunasched.units.needs import Lack


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something that could not be looked at, and why."""

    reason: str


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


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """The settings of the journal, by journald.conf(5)."""

    storage: str
    """``persistent``, ``volatile`` or ``none``, as it is now."""
    limit: int | None
    """Bytes that it may have at most, where somebody has set that."""
    readable: bool | Unseen
    """True if the supervisor can read the records of its jobs."""


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """The machine's clock."""

    synchronised: bool
    """True if something keeps it right; of a container's clock only the host knows."""


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """Time zones and their database."""

    now: str
    """The zones that units depend on (``config.zone_identity``), as they are."""
    deployed: str
    """The same when the units were made; empty where none were."""
    version: str
    """The version of the zone database, such as ``2025b``."""
    released: int
    """The year of that version; 0 where it is not known."""
    changing: tuple[str, ...]
    """The zones of jobs whose clocks will be changed within a year."""


@dataclass(frozen=True, slots=True)
class PolkitFacts:
    """The rights that polkit(8) gives the supervisor."""

    unit: str
    """The load state of ``polkit.service``."""
    permitted: tuple[str, ...] | Unseen
    """The verbs that it permits the supervisor and should not: empty where all is well."""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A file system that something of ours is on."""

    path: Path
    free: int
    """Bytes."""
    total: int


@dataclass(frozen=True, slots=True)
class ClosedFacts:
    """A directory of ours in which nothing can be changed."""

    path: Path
    fix: str
    """The command that opens it again, where that is known."""
    reason: str
    """The reason: it is ``on a read-only file system``, say."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The owner of a file, and the users who may read it."""

    path: Path
    owner: str
    group: str
    mode: int


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """The configuration file."""

    file: FileFacts | None
    problem: str
    """The error in it."""
    has_secrets: bool
    readable_by_supervisor: bool


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """One of the two databases."""

    path: Path
    file: FileFacts | None
    directory: FileFacts | None
    damage: str
    """The damage that SQLite finds."""
    state: str
    """``current``, ``older``, ``newer``, ``1.x``, ``2.0`` or ``foreign``."""
    checked: bool
    """True if it was read as a whole."""
    problem: str = ""
    """The reason why it cannot be read at all."""

    @property
    def is_in_order(self) -> bool:
        """Tell if it can be read, or is not there yet."""
        return not self.damage and not self.problem and self.state == "current"


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """The progress of the supervisor."""

    running: bool
    unrecorded_since: int | Unseen | None
    """The time of systemd's first record that is not recorded yet (µs, UTC)."""


@dataclass(frozen=True, slots=True)
class WebFacts:
    """The server of the status page and the metrics."""

    wanted: bool
    is_described: bool
    """The configuration has settings of it, and does not say if it is wanted."""
    where: str
    """Address and port."""
    held_by: tuple[str, ...]
    """The users whose programs listen at the port."""


@dataclass(frozen=True, slots=True)
class NotificationFacts:
    """Notifications of the last week that were given up."""

    failed: int
    latest: str
    """The job and the channel of the latest of them, and the server's answer."""


@dataclass(frozen=True, slots=True)
class MailFacts:
    """Email of jobs."""

    jobs: tuple[str, ...]
    """The jobs that send some."""
    obstacle: str | None
    """The reason why none can be sent, where that is known."""


@dataclass(frozen=True, slots=True)
class OverrunFacts:
    """A run in progress, or a start that waits: slots of the job have passed for too long."""

    job: str
    since: int
    """The start of it (µs, UTC)."""
    slots: int
    has_limit: bool
    """True if the job has a time limit."""
    waits: bool = False
    """It waits for its turn."""


@dataclass(frozen=True, slots=True)
class CronLine:
    """A line of a crontab that runs what a job runs."""

    file: str
    line: int
    job: str
    fix: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeployedFacts:
    """The deployed units beside the jobs in the database."""

    jobs: tuple[Job, ...]
    timers: Mapping[str, Job]
    """The timers that should run, by name."""
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    """Paths of files that stand where ours would, and are not ours."""
    unlinked: tuple[str, ...] = ()
    """Timers that would not be started at boot."""
    orphans: tuple[str, ...] = ()
    """Files of ours that belong to no job, and links to them."""
    failed: tuple[tuple[str, str], ...] = ()
    """Jobs that cannot be compiled any more, and why."""
    handover: bool = False
    """True if an ``eject`` or ``adopt`` was killed half-way."""


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
    journal: JournalFacts | Unseen
    polkit: PolkitFacts | Unseen | None
    """``None`` in user mode."""
    lingers: bool | None
    """``None`` in system mode."""
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
    lacks: tuple[Lack, ...] | Unseen = ()
    """Things that jobs need and that are not there."""
    cron_lines: tuple[CronLine, ...] | Unseen = ()
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
