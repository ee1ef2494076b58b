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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lunasched.paths import is_directory, is_there, user_name
from lunasched.transfer.crontab.lines import SIZE_MAX, without_header
from lunasched.transfer.crontab.source import CronFormat, CrontabSource
from lunasched.units.commandchannels import SENDMAIL

DEBIANS_CRON = "cron.service"
CRONS = (DEBIANS_CRON, "crond.service", "cronie.service")
"""The units by whose names cron runs."""

_ROOT = 0
_CRON_D = "cron.d"
_NAME_MAX = 60
_SPOOLS = ("var/spool/cron/crontabs", "var/spool/cron")
"""That of Debian, and that of cronie."""
_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
# What package managers and editors leave beside a file; see run-parts(8) and rpm(8).
_LEFT_ASIDE = re.compile(
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
            format=CronFormat.SYSTEM if self.user is None else CronFormat.USER,
            prefix=self._prefix,
            user=self.user,
            users=Users(),
            is_private=self.is_private,
            mails=can_mail(),
        )

    @property
    def _prefix(self) -> str:
        """The beginning of the names of its jobs."""
        path = Path(self.path)
        if self.user is not None:
            return f"crontab.{_of_name(self.user)}"
        return "crontab" if path.parent.name != _CRON_D else f"{_CRON_D}-{_of_name(path.name)}"


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
    return [*_of_system(root, owner), *_of_users(root, owner)]


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


def _of_users(root: Path, owner: int) -> Iterator[FoundCrontab]:
    for spool in _SPOOLS:
        for name in _entries(root / spool):
            path = root / spool / name
            if name.startswith(_TEMPORARY) or is_directory(path):
                continue
            with suppress(FileNotFoundError):
                data, ignored = _read_of_user(path, owner)
                text = without_header(data)
                yield FoundCrontab(f"/{spool}/{name}", text, name, ignored, is_private=True)


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
