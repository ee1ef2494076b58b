"""The two modes, system and user, the paths of each, and the host's time zone.

The one table of our files and directories. Units, tmpfiles.d(5) and the packages' scripts are text,
and name some of them again: ``test_paths.py`` holds these against the table.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput

SUPERVISOR_USER = "lunasched"
"""The system user that the supervisor runs as and that owns the history."""


STATE = Path("/var/lib/lunasched")
"""Root's, but for the history in it."""
RUNTIME = Path("/run/lunasched")
CONFIGURATION = Path("/etc/lunasched")
CALENDARS = CONFIGURATION / "calendars.d"
"""The system's named sets of days."""

SLOTS_DIRECTORY = "slots"
HISTORY_DIRECTORY = "history"
"""The part of the state that is the supervisor's."""

START_SOCKET = "/run/lunasched-start.socket"
"""Has units started for the supervisor, which may not ask systemd."""
HISTORY_SOCKET = "/run/lunasched-history.socket"
"""Answers those who may read the history."""
CRONTAB_SOCKET = "/run/lunasched-usercrontab.socket"
"""Changes the crontab of who asks, for crontab(1)."""
CRONTAB_MAILS = STATE / "crontab-mails"
"""Mails about entries of crontabs that are not run, until a program has taken them."""
CRONTAB_SPOOLS = (Path("/var/spool/cron/crontabs"), Path("/var/spool/cron"))
"""The crontabs of users, a file each: the directory of Debian's cron, and that of cronie."""
READERS_DIRECTORY = "lunasched-readers"
"""``RuntimeDirectory=`` of the processes that answer them."""

EXCLUSIVE_DIRECTORY = "lunasched-exclusive"
"""``RuntimeDirectory=`` of Exclusive jobs, beside ours: there as long as one of them runs."""

SUPERVISOR_DIRECTORY = "supervisor"
"""The part of the runtime directory that is the supervisor's; it writes nothing else there."""
BY_HAND_DIRECTORY = "by-hand"
"""The part of it for the marks of commands."""
STARTS_DIRECTORY, PASSES_DIRECTORY, HOOKS_DIRECTORY = "starts", "passes", "hooks"
CRONTABS_SEEN = "crontabs-seen"
"""The state of the crontabs when they were read; packaging/crontabs-seen notes it."""
GATE_FILE = "gate"
"""In the supervisor's part, see ``state/runtimedir.py``."""

_CONNECT_S = 1.0
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

LOCALTIME = Path("/etc/localtime")
ZONE_DATABASE = Path("/usr/share/zoneinfo/tzdata.zi")
"""The zone database as one text; its first line names its version. Beside it are the zones."""


class Mode(Enum):
    """The service manager that runs the jobs: PID 1, or the calling user's own."""

    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one mode."""

    database: Path
    """The definitions of jobs, which in system mode are root's."""
    history: Path
    """Runs and what follows from them, which in system mode are the supervisor's."""
    units: Path
    runtime_units: Path
    """The directory in which systemd looks for units that do not outlive a boot."""
    deploy_lock: Path
    slots: Path
    """The files of the guards; apart from the database, because guards run as the jobs' users."""
    runtime: Path
    """The directory of files that do not outlive a boot: the gate, marks of starts, facts for
    hooks."""
    settings: Path
    """The configuration file, which need not be there."""
    job_files: Path
    """The directory of job files that ``apply`` reads, which need not be there."""
    timer_stamps: Path
    """The directory in which systemd keeps the last elapse of ``Persistent=`` timers
    (systemd.timer(5))."""

    @property
    def crontab(self) -> Path:
        """The crontab of a user's own jobs (user mode)."""
        return self.job_files.with_name("crontab")

    @property
    def calendars(self) -> Path:
        """The directory of named sets of days, which need not be there."""
        return self.job_files.with_name(CALENDARS.name)

    @classmethod
    def of(cls, mode: Mode, environ: Mapping[str, str]) -> Paths:
        """The paths of ``mode``.

        ``LUNASCHED_DB_PATH`` moves the definitions, with the history beside them, and
        ``LUNASCHED_CONFIG_PATH`` the configuration, as in Lunasched 1.x. User mode follows the XDG
        base directory specification; a relative path in one of its variables is ignored, as it
        demands.
        """
        if mode is Mode.SYSTEM:
            state, runtime, configuration = STATE, RUNTIME, CONFIGURATION
            units = Path("/etc/systemd/system")
            runtime_units = Path("/run/systemd/system")
            stamps = Path("/var/lib/systemd/timers")
        else:
            state = _xdg(environ, "XDG_STATE_HOME", ".local/state") / "lunasched"
            units = _xdg(environ, "XDG_CONFIG_HOME", ".config") / "systemd" / "user"
            runtime = runtime_directory(environ) / "lunasched"
            runtime_units = runtime_directory(environ) / "systemd" / "user"
            configuration = _xdg(environ, "XDG_CONFIG_HOME", ".config") / "lunasched"
            stamps = _xdg(environ, "XDG_DATA_HOME", ".local/share") / "systemd" / "timers"
        database = state / "jobs.db"
        settings, job_files = configuration / "config.yaml", configuration / "jobs.d"
        if environ.get("LUNASCHED_DB_PATH"):
            database = _absolute(environ, "LUNASCHED_DB_PATH")
        if environ.get("LUNASCHED_CONFIG_PATH"):
            settings = _absolute(environ, "LUNASCHED_CONFIG_PATH")
        lock = database.with_name(database.name + ".deploy-lock")
        return cls(
            database,
            history_path(database),
            units,
            runtime_units,
            lock,
            state / SLOTS_DIRECTORY,
            runtime,
            settings,
            job_files,
            stamps,
        )


def history_path(database: Path) -> Path:
    """The history of the jobs that are defined in ``database``: in a directory of its own."""
    name = "history.db" if database.name == "jobs.db" else database.name
    return database.parent / HISTORY_DIRECTORY / name


def is_supervisor(uid: int) -> bool:
    """Tell if a user is the one that the system's supervisor runs as."""
    try:
        return pwd.getpwnam(SUPERVISOR_USER).pw_uid == uid
    except KeyError:
        return False


def unit_templates() -> Path:
    """The directory of the Jinja2 templates: inside an installed package, or the source tree's."""
    package = Path(__file__).resolve().parent
    installed = package / "unit-templates"
    return installed if installed.is_dir() else package.parent / "unit-templates"


def unit_scripts() -> Path:
    """The directory of the scripts that units run, which an upgrade of Python does not change."""
    installed = Path(sys.prefix, "libexec", "lunasched")
    return installed if (installed / "slot-guard").is_file() else unit_templates()


def zone_identity(calendars: Path, root: Path = Path("/")) -> str:
    """The host's zone, the state of the zone database and that of the directory of calendars.

    That is what timers depend on besides jobs. Of the database it is its version, and how much
    there is: old names are a package of their own on some distributions, and come and go without a
    change of the version. Where there are no calendars, none is mentioned.
    """
    text = root / ZONE_DATABASE.relative_to("/")
    try:
        with text.open(encoding="utf-8") as file:
            version = file.readline().strip()
        entries = f", {len(list(text.parent.iterdir()))} entries"
    except (OSError, UnicodeDecodeError):
        version = entries = ""
    return f"{host_timezone(root)} {version}{entries}{_calendar_state(calendars)}".strip()


def _calendar_state(directory: Path) -> str:
    """Another text for other files of calendars, as far as their sizes and times tell."""
    found: list[str] = []
    with suppress(OSError):
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            state = entry.stat()
            found.append(f"{entry.name}:{state.st_size}:{state.st_mtime_ns}:{state.st_ino}")
    return f", calendars {zlib.crc32(os.fsencode(' '.join(found))):08x}" if found else ""


def host_timezone(root: Path = Path("/")) -> str:
    """The IANA name of the host's own time zone, as systemd reads it: from ``/etc/localtime``.

    ``UTC`` where the file is missing (localtime(5)), and where it is no link into the zone
    database, for then the zone has no name.
    """
    try:
        target = str((root / "etc/localtime").readlink())
    except OSError:
        return "UTC"
    _, found, name = target.partition("zoneinfo/")
    return name if found and name else "UTC"


def _absolute(environ: Mapping[str, str], variable: str) -> Path:
    value = Path(environ[variable])
    if not value.is_absolute():
        raise InvalidInput(f"{variable} is {value}: it must be an absolute path")
    return value


def runtime_directory(environ: Mapping[str, str]) -> Path:
    """``XDG_RUNTIME_DIR``, which a user's manager has even where a login shell lacks it.

    After su(1) it is that of the user who called it.
    """
    value = Path(environ.get("XDG_RUNTIME_DIR", ""))
    own = Path(f"/run/user/{os.getuid()}")
    return value if value.is_absolute() and (value == own or is_own(value)) else own


def lacks_bus(runtime: Path) -> bool:
    """Tell whether a user's manager runs without D-Bus, which is a package of its own on Debian.

    The socket of a bus that was there once may have stayed, with nobody behind it.
    """
    return _listens(runtime / "systemd/private") and not _listens(runtime / "bus")


def _listens(path: Path) -> bool:
    """Tell whether somebody takes connections at the socket ``path``."""
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_CONNECT_S)
        try:
            connection.connect(os.fspath(path))
        except OSError:
            return False
    return True


def is_own(path: Path) -> bool:
    """Tell whether a path, if there is such a thing, belongs to the calling user."""
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return True
    except OSError:
        return False


def is_there(path: Path, *, follow: bool = True) -> bool:
    """Tell whether there is something at a path, links followed or not.

    Raises ``OSError`` where the caller may not look: ``Path.exists`` and its kin do before
    Python 3.14, and from then on say that there is nothing.
    """
    return _mode(path, follow=follow) is not None


def is_directory(path: Path) -> bool:
    """Tell the same of a directory."""
    mode = _mode(path, follow=True)
    return mode is not None and stat.S_ISDIR(mode)


def is_link(path: Path) -> bool:
    """Tell the same of a symbolic link."""
    mode = _mode(path, follow=False)
    return mode is not None and stat.S_ISLNK(mode)


def _mode(path: Path, *, follow: bool) -> int | None:
    try:
        return path.stat(follow_symlinks=follow).st_mode
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def user_name(uid: int | None = None) -> str:
    """The name of a user, the calling one by default; the number where it has no name."""
    number = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def user_home(name: str) -> str | None:
    """The home directory of a user; ``None`` if there is no such user."""
    try:
        return pwd.getpwnam(name).pw_dir
    except KeyError:
        return None


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    value = Path(environ.get(variable, ""))
    if value.is_absolute():
        return value
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise InvalidInput(f"HOME is not set to an absolute path, nor is {variable}")
    return Path(home) / fallback
