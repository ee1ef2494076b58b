"""The machine as it is: the journal's settings, cgroups, the clock, disks, files."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lunasched.dataclass import dataclass
from lunasched.formats.measures import SIZES
from lunasched.paths import ZONE_DATABASE, is_directory, is_there, user_name

JOURNAL = Path("/var/log/journal")
_CGROUPS = Path("/sys/fs/cgroup")
_LINGER = Path("/var/lib/systemd/linger")
_MOUNTS = Path("/proc/self/mountinfo")
_MACHINE_ID = Path("/etc/machine-id")
# In the order in which systemd reads them: the last takes precedence (journald.conf(5)).
_JOURNAL_CONF_ROOTS = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")
_LISTENS = "0A"
# Below it are the users of the system, whose records are in the system's journal.
_FIRST_USER = 1000
# A clock that nothing synchronises has this as its largest error (systemd does the same).
_UNSYNCHRONISED_USEC = 16_000_000


@dataclass(frozen=True, slots=True)
class FoundFile:
    """The owner of a file and the users who may read it."""

    owner: str
    group: str
    mode: int


def file_facts(path: Path) -> FoundFile | None:
    """The file's owner, group and mode; ``None`` if there is none. Raises ``OSError``."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return FoundFile(user_name(found.st_uid), _group(found.st_gid), stat.S_IMODE(found.st_mode))


def user_exists(name: str) -> bool:
    """Tell whether there is a user of that name, or with that number."""
    try:
        if name.isdecimal():
            pwd.getpwuid(int(name))
        else:
            pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return False
    return True


def user_id(name: str) -> int | None:
    """The number of a user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def lingers(user: str) -> bool | None:
    """Tell whether the manager of a user runs while they are logged out (loginctl(1)).

    ``None`` where that cannot be seen.
    """
    try:
        return is_there(_LINGER / user)
    except OSError:
        return None


def free_and_total(path: Path) -> tuple[int, int]:
    """Bytes that are left on the file system of a path, or of what there is of it, and all.

    Raises ``OSError``.
    """
    while not is_there(path) and path != path.parent:
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


@dataclass(frozen=True, slots=True)
class WriteObstacle:
    """The reason why nothing can be changed in a directory, and the command that fixes it."""

    reason: str
    fix: str = ""


def write_obstacle(path: Path, is_owner: bool) -> WriteObstacle | None:
    """Return what keeps its owner from writing in a directory; ``None`` where nothing does.

    Without ``is_owner``, only what keeps everybody from it. Raises ``OSError``.
    """
    if not is_directory(path):
        return None
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return WriteObstacle("on a read-only file system", _remount(path))
    if is_owner and not os.access(path, os.W_OK):
        return WriteObstacle(
            "not writable for its owner: it may be immutable", f"chattr -i {shlex.quote(str(path))}"
        )
    return None


def _remount(path: Path) -> str:
    """The command that makes the mount of a path writable; see /proc/self/mountinfo in proc(5)."""
    best, is_bind = "/", False
    for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        own, _, further = line.partition(" - ")
        fields, further_fields = own.split(), further.split()
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        # The last that is mounted at a place covers those before.
        if len(point) >= len(best) and path.resolve().is_relative_to(point):
            best = point
            is_bind = "ro" not in further_fields[2].split(",")
    return f"mount -o remount,rw{',bind' if is_bind else ''} {shlex.quote(best)}"


def is_debian() -> bool:
    """Tell whether the machine is Debian's, or of a distribution that is made of it."""
    return Path("/etc/debian_version").exists()


def machine_id() -> str:
    """Return machine-id(5), which tells this machine from all others; empty where it has none."""
    try:
        return _MACHINE_ID.read_text().strip()
    except OSError:
        return ""


def is_container() -> bool:
    """Tell whether the kernel is that of another machine (systemd-detect-virt(1))."""
    return Path("/run/systemd/container").exists()


def cgroup_version() -> str:
    """``v2`` where there is nothing else, ``hybrid`` or ``v1``."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return "v2"
    return "hybrid" if (_CGROUPS / "unified/cgroup.controllers").exists() else "v1"


def cgroup_controllers(uid: int | None) -> frozenset[str]:
    """The controllers of the machine, or those that the manager of a user was given."""
    path = _CGROUPS
    if uid is not None:
        path = path / f"user.slice/user-{uid}.slice/user@{uid}.service"
    return frozenset((path / "cgroup.controllers").read_text().split())


def clock_is_synchronised() -> bool:
    """Tell whether something keeps the clock right, as timedatectl(1) says it. Raises
    ``OSError``."""
    answer = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(answer)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(answer.max_error) < _UNSYNCHRONISED_USEC


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex`` (adjtimex(2)), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_int),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("max_error", ctypes.c_long),
        ("rest", ctypes.c_byte * 512),
    )


def zone_database_version() -> str:
    """The version of the zone database, such as ``2025b``; empty where that is not known."""
    try:
        with ZONE_DATABASE.open(encoding="utf-8") as file:
            found = re.match(r"# version (\S+)", file.readline())
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1] if found else ""


def listeners(port: int) -> tuple[str, ...]:
    """The users whose programs listen at a port of TCP (proc(5), ``/proc/net/tcp``)."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS and int(columns[1].rpartition(":")[2], 16) == port:
                    found.add(user_name(int(columns[7])))
    return tuple(sorted(found))


# The journal


def journal_storage() -> str:
    """Return the storage of the journal: ``persistent``, ``volatile`` or ``none``.

    Raises ``OSError``.
    """
    chosen = _journal_setting("Storage") or "auto"
    if chosen == "auto":
        return "persistent" if is_directory(JOURNAL) else "volatile"
    return chosen if chosen in ("persistent", "none") else "volatile"


def journal_limit() -> int | None:
    """The most bytes that the journal may have, where that is set."""
    where = "System" if journal_storage() == "persistent" else "Runtime"
    found = re.fullmatch(r"(\d+)([KMGT]?)", _journal_setting(f"{where}MaxUse"))
    return int(found[1]) * SIZES[found[2]] if found else None


def reads_journal_of(uid: int) -> bool:
    """Tell whether we can read what the manager of a user, ourselves, logs (``SplitMode=``)."""
    try:
        directory = JOURNAL / _MACHINE_ID.read_text().strip()
        if os.access(directory / "system.journal", os.R_OK):
            return True
        own = directory / f"user-{uid}.journal"
        # It is created when it is first needed.
        has_own = is_there(own)
        found = has_own or journal_storage() == "persistent"
    except OSError:
        return False
    is_split = uid >= _FIRST_USER and _journal_setting("SplitMode") != "none"
    return found and is_split and (not has_own or os.access(own, os.R_OK))


def _journal_setting(name: str) -> str:
    value = ""
    for path in _journal_files():
        with suppress(OSError, UnicodeDecodeError):
            for line in path.read_text(encoding="utf-8").splitlines():
                key, equals, text = line.partition("=")
                if equals and key.strip() == name:
                    value = text.strip()
    return value


def _journal_files() -> Iterator[Path]:
    """The settings of journald, those that come later count."""
    main = [Path(root, "journald.conf") for root in _JOURNAL_CONF_ROOTS]
    yield from [path for path in main if is_there(path)][-1:]
    drop_ins = {
        path.name: path
        for root in _JOURNAL_CONF_ROOTS
        for path in Path(root, "journald.conf.d").glob("*.conf")
    }
    for _, path in sorted(drop_ins.items()):
        yield path


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
