"""Gathering what ``diagnosis`` judges: everything is looked at, and nothing is changed.

What cannot be seen, for lack of a right, a bus or a database, is noted with the reason.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lunasched import schedule
from lunasched.doctor.diagnosis import (
    ClockFacts,
    ClosedFacts,
    CronLine,
    DatabaseFacts,
    DeployedFacts,
    DiskFacts,
    Facts,
    FileFacts,
    JournalFacts,
    MailFacts,
    ManagerFacts,
    NotificationFacts,
    OverrunFacts,
    PolkitFacts,
    RecordingFacts,
    SettingsFacts,
    UnitSeen,
    Unseen,
    WebFacts,
    ZoneFacts,
)
from lunasched.doctor.examination.crontabs import lines_of_jobs
from lunasched.doctor.examination.units import deployed_facts
from lunasched.errors import InvalidInput, LunaschedError
from lunasched.files import mailserver
from lunasched.files.settings import EmailSettings, Settings, WebSettings, of_document
from lunasched.formats.document import BYTES_MAX, Format
from lunasched.formats.document import read as read_document
from lunasched.history import overrun
from lunasched.history.slot import to_datetime
from lunasched.machine import host
from lunasched.machine.surroundings import Surroundings
from lunasched.paths import SUPERVISOR_USER, Mode, lacks_bus, runtime_directory
from lunasched.state.slotfile import SlotDirectory
from lunasched.store import DEFINITIONS, inspect, is_recorded
from lunasched.systemd.journal import Journal
from lunasched.units.needs import lacking

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.store import Inspection, Store
    from lunasched.units.compiler import Context
    from lunasched.units.needs import Lack

SUPERVISOR = "lunasched.service"
_PATTERNS = (
    "lunasched-job@*",
    "lunasched*.service",
    "lunasched*.timer",
    "lunasched*.socket",
    "cron*.service",
)
_CRONS = ("cron.service", "crond.service", "cronie.service")
# One call each: more than this would take a second.
_UNREAD_MAX = 1000
_SECRET = re.compile(
    rb"^[^#\n]*(passw|secret|token|webhook|authorization|://[^/\s]+/\S)", re.M | re.I
)
_DPKG = Path("/var/lib/dpkg")
_DPKG_LIST = _DPKG / "info/lunasched.list"
_BUS_PACKAGE = ("apt-get install dbus-user-session",)
_MESSAGES_MAX = 1000
_WEEK_USEC = 7 * 86_400_000_000
_YEAR_USEC = 366 * 86_400_000_000

_NO_DATABASE = Unseen("the database cannot be read")

_T = TypeVar("_T")


def examine(
    mode: Mode,
    paths: Paths,
    context: Context,
    *,
    now: int,
    store: Callable[[], Store],
) -> Facts:
    """Look at everything; ``store`` opens both databases to be looked at."""
    user = pwd.getpwuid(os.getuid()).pw_name
    settings = _seen(lambda: _settings(mode, paths.settings))
    kept = _Kept(paths, store)
    definitions, history = _seen(kept.definitions), _seen(kept.history)
    jobs = _seen(lambda: kept.jobs(definitions))
    manager = _seen(lambda: _manager(mode, paths))
    deployed: DeployedFacts | Unseen = (
        jobs
        if isinstance(jobs, Unseen)
        else _seen(lambda: deployed_facts(jobs, paths, context, _limit(paths.settings)))
    )
    known = () if isinstance(jobs, Unseen) else jobs
    return Facts(
        mode=mode,
        user=user,
        now=now,
        host_timezone=context.host_timezone,
        paths=paths,
        manager=manager,
        cgroup=host.cgroup_version(),
        controllers=_seen(
            lambda: host.cgroup_controllers(None if mode is Mode.SYSTEM else os.getuid())
        ),
        clock=_seen(lambda: ClockFacts(host.clock_is_synchronised())),
        zones=_zones(paths, context, known, now),
        journal=_seen(lambda: _journal(mode)),
        polkit=None if mode is Mode.USER else _seen(_polkit),
        lingers=None if mode is Mode.SYSTEM else host.lingers(user),
        lacks_bus=mode is Mode.USER and lacks_bus(runtime_directory(os.environ)),
        disks=_disks(paths),
        closed=_closed(mode, paths),
        settings=settings,
        definitions=definitions,
        history=history,
        recording=_seen(lambda: kept.recording(mode, history)),
        web=_seen(lambda: _web(paths.settings)),
        notifications=_seen(lambda: kept.notifications(history, now)),
        mail=_seen(lambda: _mail(paths.settings, known)),
        overruns=_seen(lambda: kept.overruns(history, context.host_timezone, now)),
        scripts=context.scripts,
        missing_scripts=tuple(
            name for name in _SCRIPTS if not os.access(context.scripts / name, os.R_OK)
        ),
        deployed=deployed,
        lacks=jobs if isinstance(jobs, Unseen) else _lacks(mode, jobs),
        cron_lines=_seen(lambda: _cron(mode, manager, known, user)),
        in_container=host.is_container(),
        has_supervisor_user=mode is Mode.USER or host.user_exists(SUPERVISOR_USER),
        reinstall=_reinstall(context.scripts),
        bus_package=_BUS_PACKAGE if _DPKG.exists() else (),
    )


_SCRIPTS = ("slot-guard", "overlap-guard", "run-hook", "launch")


def _seen(look: Callable[[], _T]) -> _T | Unseen:
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


def _file(path: Path) -> FileFacts | None:
    found = host.file_facts(path)
    return FileFacts(path, found.owner, found.group, found.mode) if found else None


def _settings(mode: Mode, path: Path) -> SettingsFacts:
    file = _file(path)
    if file is None:
        return SettingsFacts(None, "", has_secrets=False, readable_by_supervisor=True)
    with path.open("rb") as opened:
        content, problem = opened.read(BYTES_MAX), ""
    try:
        Settings.load(path, os.environ)
    except InvalidInput as error:
        problem = str(error)
    readable = mode is Mode.USER or bool(
        file.mode & 0o004
        or (file.group == SUPERVISOR_USER and file.mode & 0o040)
        or (file.owner == SUPERVISOR_USER and file.mode & 0o400)
    )
    return SettingsFacts(file, problem, bool(_SECRET.search(content)), readable)


def _limit(settings: Path) -> int:
    """The limit to all jobs, which a file that is not valid does not say."""
    try:
        return Settings.load(settings, os.environ).max_concurrent_jobs
    except InvalidInput:
        return 0


class _Kept:
    """The content of the databases, which is not changed."""

    def __init__(self, paths: Paths, store: Callable[[], Store]) -> None:
        self._paths = paths
        self._open = store

    def definitions(self) -> DatabaseFacts:
        """The file of the jobs."""
        path = self._paths.database
        if host.file_facts(path) is None:
            return _no_database(path)
        return _database(path, inspect(path, DEFINITIONS))

    def history(self) -> DatabaseFacts:
        """The file of the runs, looked at by who owns it."""
        path = self._paths.history
        if host.file_facts(self._paths.database) is None:
            return _no_database(path)
        return _database(path, self._open().history.inspect())

    def jobs(self, known: DatabaseFacts | Unseen) -> tuple[Job, ...] | Unseen:
        """The jobs that there are."""
        if isinstance(known, Unseen):
            return _NO_DATABASE
        if known.file is None:
            return ()
        if not known.is_in_order:
            return _NO_DATABASE
        return tuple(self._open().jobs.all())

    def recording(self, mode: Mode, known: DatabaseFacts | Unseen) -> RecordingFacts:
        """Return the progress of the supervisor."""
        if host.file_facts(self._paths.database) is None:
            return RecordingFacts(_seen_running(self._paths.history), None)
        running = self._open().history.is_recorded()
        if isinstance(known, Unseen) or not known.is_in_order:
            return RecordingFacts(running, _NO_DATABASE)
        if known.file is None:
            return RecordingFacts(running, None)

        def since() -> int | None:
            event = Journal(mode, os.getuid()).first_event(self._open().cursor())
            return None if event is None else event.at

        return RecordingFacts(running, _seen(since))

    def notifications(self, known: DatabaseFacts | Unseen, now: int) -> NotificationFacts | Unseen:
        """The notifications that were given up."""
        if isinstance(known, Unseen) or not known.is_in_order:
            return _NO_DATABASE
        return NotificationFacts(0, "") if known.file is None else _notifications(self._open(), now)

    def overruns(
        self, known: DatabaseFacts | Unseen, host_timezone: str, now: int
    ) -> tuple[OverrunFacts, ...] | Unseen:
        """The runs in progress that slots pass during."""
        if isinstance(known, Unseen) or not known.is_in_order:
            return _NO_DATABASE
        return () if known.file is None else _overruns(self._open(), host_timezone, now)


def _overruns(store: Store, host_timezone: str, now: int) -> tuple[OverrunFacts, ...]:
    open_ = sorted({run.job for run in store.runs.open()})
    found = []
    for name, (job, deployed_at) in store.jobs.some(open_).items():
        rule = overrun.Rule.of(job, deployed_at, host_timezone)
        for run in store.runs.open_of_job(name):
            slots = overrun.of_run(rule, run, now)
            if slots is not None and now >= slots.first_at + overrun.wait_usec(job):
                limited = job.limits.timeout is not None
                found.append(OverrunFacts(name, run.started_at, slots.count, limited))
    starts = [start for start in store.starts.all() if not start.is_retry]
    known = store.jobs.some({start.job for start in starts})
    for start in [one for one in starts if one.job in known]:
        job, deployed_at = known[start.job]
        slots = overrun.of_start(overrun.Rule.of(job, deployed_at, host_timezone), start, now)
        if slots is not None and now >= slots.first_at + overrun.wait_usec(job):
            since = start.created_at
            found.append(OverrunFacts(job.name, since, slots.count, has_limit=True, waits=True))
    return tuple(found)


def _no_database(path: Path) -> DatabaseFacts:
    return DatabaseFacts(path, None, None, "", "current", checked=True)


def _database(path: Path, looked: Inspection | None) -> DatabaseFacts:
    if looked is None:
        return _no_database(path)
    file = FileFacts(path, looked.owner, looked.group, looked.mode)
    return DatabaseFacts(
        path, file, _file(path.parent), looked.damage, looked.state, looked.checked, looked.problem
    )


def _seen_running(history: Path) -> bool:
    """Tell if a supervisor runs that has nothing to do yet."""
    return os.geteuid() != 0 and is_recorded(history)


def _said(path: Path) -> tuple[str, ...]:
    """The settings that a valid configuration file has."""
    if not path.exists():
        return ()
    return of_document(read_document(path.read_bytes(), str(path), Format.YAML)).present


def _web(path: Path) -> WebFacts:
    try:
        settings, said = Settings.load(path, os.environ).web, _said(path)
    except InvalidInput:
        settings, said = WebSettings(), ()
    host_ = f"[{settings.address}]" if ":" in settings.address else settings.address
    return WebFacts(
        wanted=settings.enabled,
        is_described=any(key.startswith("web.") for key in said) and "web.enabled" not in said,
        where=f"{host_}:{settings.port}",
        held_by=host.listeners(settings.port),
    )


def _mail(path: Path, jobs: Sequence[Job]) -> MailFacts:
    try:
        settings = Settings.load(path, os.environ).email
    except InvalidInput:
        settings = EmailSettings()
    obstacle = mailserver.obstacle(settings, lambda port: bool(host.listeners(port)))
    return MailFacts(mailserver.who_mails(jobs), obstacle)


def _notifications(store: Store, now: int) -> NotificationFacts:
    failed = [
        entry
        for entry in store.outbox.entries(None, failed=True, count=_MESSAGES_MAX)
        if (entry.settled_at or entry.created_at) > now - _WEEK_USEC
    ]
    latest = ""
    if failed:
        one = failed[0]
        latest = (
            f"{one.event} of {one.job} by {one.channel.type.value}: {one.answer or 'no answer'}"
        )
    return NotificationFacts(len(failed), latest)


def _manager(mode: Mode, paths: Paths) -> ManagerFacts:
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
        unread = _seen(lambda: tuple(manager.stale(ours)))
    return ManagerFacts(manager.version(), units, manager.file_state(SUPERVISOR), unread)


def _lacks(mode: Mode, jobs: Sequence[Job]) -> tuple[Lack, ...] | Unseen:
    from lunasched.systemd.manager import Manager

    path = _seen(lambda: Manager.connect(mode).path())
    around = Surroundings(mode, None if isinstance(path, Unseen) else path)
    return _seen(lambda: tuple(lacking(jobs, around)))


def _zones(paths: Paths, context: Context, jobs: Sequence[Job], now: int) -> ZoneFacts:
    version = host.zone_database_version()
    moment, then = to_datetime(now), to_datetime(now + _YEAR_USEC)
    names = sorted({job.timezone or context.host_timezone for job in jobs})
    changing = []
    for name in names:
        try:
            if schedule.transitions(name, moment, then):
                changing.append(name)
        except InvalidInput:
            continue
    released = re.match(r"\d{4}", version)
    return ZoneFacts(
        now=context.zones,
        deployed=SlotDirectory(paths.slots).zones(),
        version=version,
        released=int(released[0]) if released else 0,
        changing=tuple(changing),
    )


def _journal(mode: Mode) -> JournalFacts:
    uid = os.getuid()
    return JournalFacts(
        storage=host.journal_storage(),
        limit=host.journal_limit(),
        # The system's supervisor is in the group systemd-journal.
        readable=mode is Mode.SYSTEM or host.reads_journal_of(uid),
    )


def _polkit() -> PolkitFacts:
    from lunasched.systemd.manager import Manager
    from lunasched.systemd.polkit import may_do

    load = Manager.connect(Mode.SYSTEM).facts("polkit.service").load
    uid = host.user_id(SUPERVISOR_USER)
    if os.geteuid() != 0:
        return PolkitFacts(load, Unseen("only root can ask polkit"))
    if uid is None or load != "loaded":
        return PolkitFacts(load, Unseen(f"there is no user {SUPERVISOR_USER}"))
    return PolkitFacts(load, _seen(lambda: tuple(may_do(uid))))


def _disks(paths: Paths) -> tuple[DiskFacts, ...]:
    """The file systems that we write to, each once."""
    found: dict[tuple[int, int], DiskFacts] = {}
    for path in (paths.database.parent, paths.units, host.JOURNAL):
        free_and_total = _seen(lambda path=path: host.free_and_total(path))  # type: ignore[misc]
        if not isinstance(free_and_total, Unseen):
            found.setdefault(free_and_total, DiskFacts(path, *free_and_total))
    return tuple(found.values())


def _closed(mode: Mode, paths: Paths) -> tuple[ClosedFacts, ...]:
    """The directories that jobs and runs are kept in and that cannot be written."""
    found: list[tuple[host.WriteObstacle, Path]] = []
    # A caller who may not write there anyway learns only of read-only file systems.
    is_owner = mode is Mode.USER or os.geteuid() == 0
    wants = paths.units / "timers.target.wants"
    for path in (paths.units, wants, paths.database.parent, paths.slots, paths.history.parent):
        obstacle = _seen(lambda path=path: host.write_obstacle(path, is_owner))  # type: ignore[misc]
        if isinstance(obstacle, host.WriteObstacle) and obstacle not in (one for one, _ in found):
            found.append((obstacle, path))
    return tuple(ClosedFacts(path, one.fix, one.reason) for one, path in found)


def _cron(
    mode: Mode, manager: ManagerFacts | Unseen, jobs: Sequence[Job], user: str
) -> tuple[CronLine, ...]:
    if isinstance(manager, Unseen) or not jobs:
        return ()
    if mode is Mode.SYSTEM:
        if not any(_is_active(manager, cron) for cron in _CRONS):
            return ()
        return lines_of_jobs(host.crontabs(), jobs)
    return lines_of_jobs(host.own_crontab(user), jobs)


def _is_active(manager: ManagerFacts, unit: str) -> bool:
    return unit in manager.units and manager.units[unit].active == "active"


def _reinstall(scripts: Path) -> tuple[str, ...]:
    if _DPKG_LIST.exists():
        return ("apt-get install --reinstall lunasched",)
    if scripts.is_relative_to("/usr/libexec"):
        return ("dnf reinstall lunasched",)
    return ("make install  # in the source tree of lunasched",)


__all__ = ["examine"]
