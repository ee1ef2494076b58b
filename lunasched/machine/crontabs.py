"""The crontabs of a machine, and which of them cron reads: it looks at owners and modes first.

The checks are those of Debian's cron (database.c). A crontab of the system is root's, as is a link
to one, and nobody else can write it; a user's is theirs or root's, and nobody else can read it.
Neither has a second name: who may write that would write the crontab. Of files in /etc/cron.d with
any other character in their names, cron says nothing at all.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

from lunasched.dataclass import dataclass
from lunasched.formats.pattern import pattern
from lunasched.machine.host import is_debian, machine_id
from lunasched.machine.pamvariables import pam_variables
from lunasched.paths import CRONTAB_SPOOLS, is_directory, is_there, user_name
from lunasched.transfer.crontab.lines import SIZE_MAX, without_header
from lunasched.transfer.crontab.runparts import ANACRON, DIRECTORIES, directories_of_anacron
from lunasched.transfer.crontab.source import CronFormat, CronScript, CrontabSource
from lunasched.units.commandchannels import SENDMAIL

DEBIANS_CRON = "cron.service"
CRONS = (DEBIANS_CRON, "crond.service", "cronie.service")
"""The units by whose names cron runs."""

_ROOT = 0
_CRON_D = "cron.d"
_NAME_MAX = 60
_NAME = pattern(r"[A-Za-z0-9_-]+\Z")
_RUN_PARTS = "/usr/bin/run-parts"
_ANACRONTAB = "etc/anacrontab"
# What package managers and editors leave beside a file; see run-parts(8) and rpm(8).
_LEFT_ASIDE = pattern(
    r".*(?:~|\.(?:dpkg|ucf)-[a-z]+|\.rpm(?:new|save|orig)|\.(?:bak|orig|old|save|swp|disabled))\Z",
    re.IGNORECASE,
)
# crontab(1) of Debian writes there while it installs a crontab.
_TEMPORARY = "tmp."
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MODE_OF_USERS = 0o600
_Check = Callable[[os.stat_result], "Ignored | None"]


@dataclass(frozen=True, slots=True)
class Ignored:
    """The reason why cron does not read a crontab, and the command that fixes it."""

    reason: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class FoundCrontab:
    """A crontab; ``user`` is whose it is, if that is not said in its lines."""

    path: str
    """Its file, or ``crontab -l``."""
    data: bytes
    """The text; empty where cron does not read it."""
    user: str | None
    ignored: Ignored | None = None
    is_private: bool = False
    """True if not every user may read it."""
    by_anacron: frozenset[str] = frozenset()
    """The directories of scripts that it leaves to anacron or its table."""
    is_of_manager: bool = False
    """True if its jobs are those of the user's own service manager."""
    environment: tuple[tuple[str, str], ...] = ()
    """The variables that each of its commands has; not of anacron, which opens no session."""

    @property
    def format(self) -> CronFormat:
        """The format of its lines."""
        if self.user is not None:
            return CronFormat.USER
        is_anacrontab = self.path == f"/{_ANACRONTAB}"
        return CronFormat.ANACRON if is_anacrontab else CronFormat.SYSTEM

    @property
    def label(self) -> str:
        """Its name in messages."""
        if self.user is None or self.path == _OWN:
            return self.path
        return f"the crontab of {self.user}"

    def source(self) -> CrontabSource:
        """The crontab as lunasched serves it."""
        return CrontabSource(
            label=self.path,
            format=self.format,
            prefix=self._prefix,
            user=None if self.is_of_manager else self.user,
            caller=self.user if self.is_of_manager else None,
            users=Users(),
            is_private=self.is_private,
            mails=can_mail(),
            # The commands of a user are theirs, whatever they look like.
            scripts=None if self.user is not None else scripts,
            by_anacron=self.by_anacron,
            environment=self.environment,
            spread=machine_id(),
        )

    @property
    def _prefix(self) -> str:
        """The beginning of the names of its jobs."""
        path = Path(self.path)
        if self.is_of_manager:
            return "crontab"
        if self.user is not None:
            return f"crontab.{_of_name(self.user)}"
        if self.format is CronFormat.ANACRON:
            return "anacrontab"
        return "crontab" if path.parent.name != _CRON_D else f"{_CRON_D}-{_of_name(path.name)}"


def scripts(directory: str) -> list[CronScript]:
    """The scripts of a directory such as ``/etc/cron.daily`` that run-parts(8) runs, in its order.

    On Debian that of debianutils runs each: it prints the name above what a script prints, and the
    exit code below. Elsewhere run-parts takes other names, and cannot run one alone.
    """
    debian = is_debian()
    found = []
    for name in _entries(Path(directory)):
        path = Path(directory, name)
        if not (_NAME.match(name) if debian else _is_script_name(name)):
            continue
        if not path.is_file() or not os.access(path, os.X_OK):
            continue
        alone = (_RUN_PARTS, "--report", f"--regex=^{name}$", directory)
        found.append(CronScript(str(path), alone if debian else (str(path),)))
    return found


def _is_script_name(name: str) -> bool:
    return not (_LEFT_ASIDE.match(name) or name.endswith((",", ",v", ".cfsaved")))


def can_mail() -> bool:
    """Tell whether there is the program that cron mails with."""
    return is_there(Path(SENDMAIL))


class Users:
    """The names of the machine's users, also of those that no list of users has (LDAP)."""

    def __contains__(self, name: object) -> bool:
        try:
            pwd.getpwnam(str(name))
        except (KeyError, ValueError):
            return False
        return True


def _of_name(text: str) -> str:
    """A text as it stands in the name of a job."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:_NAME_MAX].strip("-.")


_OWN = "crontab -l"


def of_machine(root: Path = Path("/"), *, owner: int = _ROOT) -> list[FoundCrontab]:
    """The crontabs of the machine, as root sees them, in the order of their paths.

    ``root`` is the directory that their paths begin at, and ``owner`` the user that owns those of
    the system.
    """
    system = list(_of_system(root, owner))
    if is_there(root / ANACRON.lstrip("/")):
        by_anacron = frozenset(DIRECTORIES)
    else:
        table = _of_anacron(root, owner)
        by_anacron = frozenset[str]().union(*(directories_of_anacron(one.data) for one in table))
        system += table
    system = [
        one if one.format is CronFormat.ANACRON else replace(one, by_anacron=by_anacron)
        for one in system
    ]
    variables = tuple(pam_variables(root).items())
    return [
        one if one.format is CronFormat.ANACRON else replace(one, environment=variables)
        for one in (*system, *_of_users(root, owner))
    ]


def comment_out(path: Path, lines: Mapping[int, str]) -> None:
    """Make comments of lines of a crontab, each by its number; all of them or none.

    Raises ``OSError``, and ``ValueError`` where a line is not what it is said to be, or goes on in
    the next.
    """
    if path.parent not in CRONTAB_SPOOLS:  # whose files cron does not follow, either
        path = path.resolve(strict=True)
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123 - it is open
        about = os.fstat(file.fileno())
        data = file.read()
    text = without_header(data)
    read = text.split(b"\n")
    for number, line in lines.items():
        if not 0 < number <= len(read) or read[number - 1] != line.encode():
            raise ValueError(f"line {number} is not what it was")
        read[number - 1] = b"#" + read[number - 1]
    # Cron passes over such a name.
    new = path.with_name(f".{path.name}.lunasched")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open
            file.write(data[: len(data) - len(text)] + b"\n".join(read))
            os.fchown(descriptor, about.st_uid, about.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(about.st_mode))
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def crontab_of_manager(path: Path, user: str) -> list[FoundCrontab]:
    """The crontab of a user's own jobs, if there is one; whoever calls is the user."""
    with suppress(FileNotFoundError):
        return [FoundCrontab(str(path), path.read_bytes(), user, is_of_manager=True)]
    return []


def own_crontab(user: str) -> list[FoundCrontab]:
    """The crontab of whoever calls, if there is one."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["crontab", "-l"], capture_output=True, check=False, timeout=30)
        if done.returncode == 0:
            return [FoundCrontab(_OWN, done.stdout, user)]
    return []


def _of_system(root: Path, owner: int) -> Iterator[FoundCrontab]:
    directory = root / "etc" / _CRON_D
    names = [name for name in _entries(directory) if not _LEFT_ASIDE.match(name)]
    for path in (root / "etc/crontab", *(directory / name for name in names)):
        if path.parent == directory and not _NAME.match(path.name):
            yield FoundCrontab(f"/{path.relative_to(root)}", b"", None, _misnamed(path))
            continue
        with suppress(FileNotFoundError):
            data, ignored = _read_of_system(path, owner)
            is_private = is_there(path) and not path.stat().st_mode & stat.S_IROTH
            yield FoundCrontab(f"/{path.relative_to(root)}", data, None, ignored, is_private)


def anacron_day(source: str, text: str, root: Path = Path("/")) -> date | None:
    """Return the day on which anacron(8) last ran what a job is made of.

    ``source`` and ``text`` are its origin: an entry of the table of anacron, or a script that one
    of them runs. ``None`` for anything else, and where anacron has never run it.
    """
    with suppress(OSError, ValueError, KeyError, IndexError):
        if source == f"/{_ANACRONTAB}":
            name = text.split(None, 3)[2]
        else:
            table = (root / _ANACRONTAB).read_bytes()
            name = directories_of_anacron(table)[str(Path(source).parent)]
        noted = (root / "var/spool/anacron" / name).read_text()
        return date(int(noted[:4]), int(noted[4:6]), int(noted[6:8]))
    return None


def _of_anacron(root: Path, owner: int) -> list[FoundCrontab]:
    """The table of anacron(8), which only a machine without that leaves to others."""
    with suppress(FileNotFoundError):
        data, ignored = _read_of_system(root / _ANACRONTAB, owner)
        return [FoundCrontab(f"/{_ANACRONTAB}", data, None, ignored)]
    return []


def _of_users(root: Path, owner: int) -> Iterator[FoundCrontab]:
    for spool in CRONTAB_SPOOLS:
        directory = root / spool.relative_to("/")
        for name in _entries(directory):
            path = directory / name
            if name.startswith(_TEMPORARY) or is_directory(path):
                continue
            with suppress(FileNotFoundError):
                data, ignored = _read_of_user(path, owner)
                text = without_header(data)
                yield FoundCrontab(f"{spool}/{name}", text, name, ignored, is_private=True)


def _entries(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _misnamed(path: Path) -> Ignored:
    better = path.with_name(re.sub(r"[^A-Za-z0-9_-]+", "-", path.name))
    fix = "" if is_there(better, follow=False) else f"mv {_quoted(path)} {_quoted(better)}"
    return Ignored("its name has other characters than letters, digits, '_' and '-'", fix)


def _read_of_system(path: Path, owner: int) -> tuple[bytes, Ignored | None]:
    about = path.lstat()
    if stat.S_ISLNK(about.st_mode) and about.st_uid != owner:
        whose = f"the link is {user_name(about.st_uid)}'s, and not {user_name(owner)}'s"
        return b"", Ignored(whose, f"chown -h {user_name(owner)} {_quoted(path)}")

    def check(found: os.stat_result) -> Ignored | None:
        if found.st_uid != owner:
            whose = f"it is {user_name(found.st_uid)}'s, and not {user_name(owner)}'s"
            return Ignored(whose, f"chown {user_name(owner)} {_quoted(path)}")
        if found.st_mode & _OTHERS_WRITE:
            mode = f"others than its owner can write it (mode {_mode(found):04o})"
            return Ignored(mode, f"chmod go-w {_quoted(path)}")
        return None

    return _read(path, 0, check)


def _read_of_user(path: Path, owner: int) -> tuple[bytes, Ignored | None]:
    name = path.name
    try:
        uid = pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        aside = shlex.quote(f"/root/{name}.crontab")
        return b"", Ignored(f"there is no user {name!r}", f"mv {_quoted(path)} {aside}")

    def check(found: os.stat_result) -> Ignored | None:
        if found.st_uid not in (uid, owner):
            whose = f"it is {user_name(found.st_uid)}'s, and not {name}'s"
            return Ignored(whose, f"chown {shlex.quote(name)} {_quoted(path)}")
        if _mode(found) != _MODE_OF_USERS:
            mode = f"its mode is {_mode(found):04o}, and not {_MODE_OF_USERS:04o}"
            return Ignored(mode, f"chmod {_MODE_OF_USERS:o} {_quoted(path)}")
        return None

    return _read(path, os.O_NOFOLLOW, check)


def _read(path: Path, flags: int, check: _Check) -> tuple[bytes, Ignored | None]:
    """A crontab that passes a check: a file, and no more of it than tells that it is too long.

    Raises ``FileNotFoundError`` where there is nothing any more.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except OSError as error:
        path.lstat()
        return b"", Ignored(f"it cannot be opened: {error.strerror}")
    try:
        found = os.fstat(descriptor)
        ignored = _fault(path, found) or check(found)
        return (b"", ignored) if ignored else (_text(descriptor), None)
    finally:
        os.close(descriptor)


def _fault(path: Path, found: os.stat_result) -> Ignored | None:
    """What any crontab has to be."""
    if not stat.S_ISREG(found.st_mode):
        return Ignored("it is no regular file")
    if found.st_nlink != 1:
        copy = _quoted(path.with_name(f".{path.name}"))
        fix = f"cp -p {_quoted(path)} {copy} && mv {copy} {_quoted(path)}"
        return Ignored(f"the file has {found.st_nlink} names (hard links)", fix)
    return None


def _text(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(SIZE_MAX + 1)


def _mode(found: os.stat_result) -> int:
    return stat.S_IMODE(found.st_mode)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
