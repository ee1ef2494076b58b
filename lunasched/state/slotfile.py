"""The files of the guards, in a directory that only the jobs' manager may write.

Guards run as the user of their job (``unit-templates/slot-guard``), so what they write is in files
that belong to that user, which are made here: a new file is complete and has its owner before it
has its name. What is in them is that user's word, and is read as such. ::

    INSTANCE            the manager's: zone and schedule, then the slots to come, a line each
    last:INSTANCE       the user's: LAST OFFSET EARLIER ...
    succeeded:INSTANCE  the user's: "1" while the latest run is a success

LAST is the last slot that ran, OFFSET the difference of the clock and the time since boot when it
did, which tells a step of the clock, and EARLIER are up to seven slots that ran before, the latest
first; all are microseconds. Each is padded with spaces, so that the guard replaces them in place.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lunasched import errors
from lunasched.errors import DeploymentFailed, PermissionDenied
from lunasched.formats.pattern import pattern
from lunasched.formats.unittext import instance_name, last_slot_name, success_name
from lunasched.history.slot import LastSlot, SlotList

# ":" does not occur in the names of jobs' files.
_ZONES = "zones:"
_TEMPORARY = ".{pid}.new"
# Far more than lunasched writes; others may have written the file.
_OWN_BYTES_MAX = 256
_LIST_BYTES_MAX = 1 << 20
_LAST = pattern(r"[0-9]{1,18} +[0-9]{1,18}(?: +[0-9]{1,18})* *\n")
_EARLIER_MOST = 7
# A guard notes one slot while its file is replaced, and then the new one.
_REPLACED_MOST = 3


class SlotDirectory:
    """The files of all jobs of one mode."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, job: str) -> SlotList | None:
        """The slots that the guard knows; ``None`` where there is no list, or a damaged one."""
        text = _content(self.path / instance_name(job), _LIST_BYTES_MAX)
        try:
            return None if text is None else _slot_list(text)
        except ValueError:
            return None

    def write(self, job: str, slots: SlotList) -> None:
        """Replace the list, whole."""
        lines = (f"{slots.zone} {slots.schedule}", *map(str, slots.slots))
        self._replace(instance_name(job), "\n".join(lines) + "\n")

    def is_guarded(self, job: str) -> bool:
        """Tell whether a job has a guard for its slots, also where its list was lost."""
        return os.path.lexists(self.path / last_slot_name(job))

    def last(self, job: str) -> LastSlot | None:
        """The last slot that ran; ``None`` where that is not known."""
        return _last(_content(self.path / last_slot_name(job), _OWN_BYTES_MAX))

    def set_last(self, job: str, last: LastSlot, user: str | None, *, durable: bool) -> None:
        """Say which slot counts as the last one that ran, in a file of the job's user.

        ``durable`` outlives a power cut that comes after.
        """
        known = (last.slot, last.offset, *last.earlier[:_EARLIER_MOST])
        text = " ".join(f"{number:<18}" for number in known).ljust(19 * (2 + _EARLIER_MOST) - 1)
        text += "\n"
        self._replace(last_slot_name(job), text, user=user, durable=durable)

    def own_last(self, job: str, user: str | None, *, durable: bool) -> None:
        """See to it that there is a file of the job's user for the last slot that ran.

        What a guard notes in the old file meanwhile is not lost.
        """
        path = self.path / last_slot_name(job)
        if _is_of(path, _owner(user)):
            return
        try:
            before = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            self.set_last(job, LastSlot(0, 0), user, durable=durable)
            return
        try:
            for _ in range(_REPLACED_MOST):
                known = _last(_content_of(before, _OWN_BYTES_MAX))
                self.set_last(job, known or LastSlot(0, 0), user, durable=durable)
                if _last(_content_of(before, _OWN_BYTES_MAX)) == known:
                    return
        finally:
            os.close(before)

    def zones(self) -> str:
        """Return the zones that were given to ``write_made_for``."""
        return self._made_for()[0]

    def systemd(self) -> str:
        """Return the systemd that was given to ``write_made_for``."""
        return self._made_for()[2]

    def _made_for(self) -> tuple[str, str, str]:
        return (_content(self.path / _ZONES, _OWN_BYTES_MAX) or "").strip().partition("\n")

    def write_made_for(self, zones: str, systemd: str) -> None:
        """Note for which time zones (``paths.zone_identity``) and for which systemd
        (``versions.made_for``) all units were made."""
        self._replace(_ZONES, f"{zones}\n{systemd}".strip() + "\n")

    def set_succeeded(self, job: str, succeeded: bool, user: str | None) -> None:
        """Say whether the latest run of a job that others depend on was a success.

        From then on its own service does (``lunasched.dependencies``), as the job's user.
        """
        self._replace(success_name(job), "1" if succeeded else "0", user=user, durable=True)

    def says_success(self, job: str) -> bool:
        """Tell whether ``set_succeeded`` or the service of a job says that it succeeded."""
        return (_content(self.path / success_name(job), 1) or "") == "1"

    def can_say_success(self, job: str, user: str | None) -> bool:
        """Tell whether the service of a job can say that it succeeded, as the job's user."""
        return _is_of(self.path / success_name(job), _owner(user))

    def forget_success(self, job: str) -> None:
        """Drop the word about a job that nobody depends on."""
        self._remove(success_name(job))

    def forget_successes(self, but: Iterable[str]) -> None:
        """Drop the word about all jobs but some."""
        kept = {success_name(job) for job in but}
        for file in self.path.glob(success_name("") + "*"):
            if file.name not in kept:
                self._remove(file.name)

    def remove(self, jobs: Iterable[str]) -> None:
        """Forget the slots of jobs that are gone."""
        for job in jobs:
            self._remove(instance_name(job))
            self._remove(last_slot_name(job))

    def remove_leftovers(self) -> None:
        """Remove what killed processes were writing; the guards of starting jobs may write now."""
        for leftover in self.path.glob(_TEMPORARY.format(pid="*[0-9]")):
            if not Path("/proc", leftover.name.split(".")[1]).exists():
                self._remove(leftover.name)

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            (self.path / name).unlink(missing_ok=True)

    def _replace(
        self, name: str, text: str, *, user: str | None = None, durable: bool = False
    ) -> None:
        """A new file, which nobody else has open, takes the place of the old one."""
        temporary = self.path / _TEMPORARY.format(pid=os.getpid())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                owner = _owner(user)
                if owner != os.geteuid():
                    os.fchown(file.fileno(), owner, -1)
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except PermissionError as error:
            raise PermissionDenied(f"{self.path} cannot be written by this user") from error
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise DeploymentFailed(f"{self.path / name}: {errors.reason(error)}") from error


def _owner(user: str | None) -> int:
    """The user of a job's files; our own where there is no such user, so that the job cannot run.

    Only root gives files away.
    """
    if user is None or os.geteuid() != 0:
        return os.geteuid()
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return os.geteuid()


def _is_of(path: Path, owner: int) -> bool:
    """Tell whether a path is a regular file of a user."""
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_uid == owner


def _content(path: Path, limit: int) -> str | None:
    """The beginning of a regular file; ``None`` for everything else."""
    try:
        found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _content_of(found, limit)
    finally:
        os.close(found)


def _content_of(found: int, limit: int) -> str | None:
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        opened = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            return file.read(limit).decode(errors="replace")
    except OSError:
        return None


def _slot_list(text: str) -> SlotList:
    """Raises ``ValueError`` for what is damaged."""
    header, *lines = text.splitlines()
    zone, _, schedule = header.partition(" ")
    return SlotList(zone, schedule, tuple(map(int, lines)))


def _last(text: str | None) -> LastSlot | None:
    found = _LAST.match(text or "")
    if found is None:
        return None
    last, offset, *earlier = map(int, found[0].split())
    return LastSlot(last, offset, tuple(earlier[:_EARLIER_MOST]))


def clock_offset(now: int) -> int:
    """The clock (µs) less the time since boot, suspended or not: constant but for steps."""
    return max(0, now - _uptime())


def _uptime() -> int:
    """Microseconds since boot, in steps of 10 ms, as the guard reads them."""
    with Path("/proc/uptime").open() as file:
        return int(file.read().split()[0].replace(".", "")) * 10_000
