"""The place where a job runs: the machine as seen with its user, sandbox and mounts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath

from lunasched.dataclass import dataclass
from lunasched.jobs import directivelines
from lunasched.jobs.model import Job
from lunasched.units import confinement
from lunasched.units.needs.lack import Lack
from lunasched.units.needs.machinequestions import Absence, Account, FileKind, Machine, Seen

SYSTEMD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""The directories where systemd looks for a program without a shell, whatever ``PATH`` says."""
READ, EXECUTE = 0o4, 0o1
NO_PROCESS = 0
"""In the place of an exit status, where systemd does not even start a process."""
_MAKES = (
    "RuntimeDirectory", "StateDirectory", "CacheDirectory", "LogsDirectory",
    "ConfigurationDirectory",
)  # fmt: skip
"""Directives by which systemd makes a directory before a run."""
_MOUNTED = ("RequiresMountsFor", "WantsMountsFor")


@dataclass(frozen=True)
class Place:
    """A job, and what there is of the machine for it."""

    job: Job
    machine: Machine
    account: Account | None

    @classmethod
    def of(cls, job: Job, machine: Machine) -> Place:
        """The place of a job."""
        return cls(job, machine, machine.account(job.user))

    def lack(
        self,
        key: str,
        value: str,
        what: str,
        *,
        exits: int | None = None,
        effect: str = "",
        remedy: str,
        fix: str = "",
    ) -> Lack:
        """Say that something is missing; ``exits`` is the exit status that systemd gives a run.

        Without it, systemd starts the run, and what becomes of it is the command's to say.
        """
        if exits is not None:
            when = "it is let run" if self._has_tests else "this is so"
            code = f" ({exits})" if exits != NO_PROCESS else ", without a process"
            effect = f"as long as {when}, each run is an exec-error{code}"
        certain = exits is not None and not self._has_tests and self.job.enabled
        return Lack(self.job.name, key, value, what, effect, remedy, certain, fix)

    def lines(self, *names: str) -> Iterator[tuple[str, str]]:
        """The lines of some of the job's directives, each with its name."""
        for name, value in self.job.directives:
            if name in names:
                for line in (value,) if isinstance(value, str) else value:
                    yield name, line

    def examine(self, path: str) -> Seen | Absence:
        """Return what the job finds at a path; ``FORBIDDEN`` where that is not known."""
        if confinement.has_other_files(self.job, path) or self._is_made(path):
            return Absence.FORBIDDEN
        found = self.machine.examine(path)
        if isinstance(found, Absence) and self._is_mounted(path):
            return Absence.FORBIDDEN
        return found

    @cached_property
    def exec_path(self) -> tuple[str, ...]:
        """The directories where systemd looks for a program by its name (systemd.service(5))."""
        return self._search_path or SYSTEMD_PATH

    @cached_property
    def path(self) -> tuple[str, ...] | None:
        """The ``PATH`` of the job's command; ``None`` where it is not known."""
        own = dict(self.job.environment).get("PATH")
        if own is not None:
            return tuple(each for each in own.split(":") if each.startswith("/"))
        if any(True for _ in self.lines("EnvironmentFile", "PassEnvironment")):
            return None
        return self._search_path or self.machine.path

    @cached_property
    def directory(self) -> str | None:
        """The directory in which the command begins, if that is known and there."""
        own = (self.job.working_directory or "").removeprefix("-")
        path = own or (self.account.home if self.account else "")
        return path if path.startswith("/") and isinstance(self.examine(path), Seen) else None

    def hides(self, path: str) -> str | None:
        """The option of the sandbox that hides what is at a path."""
        return confinement.hides(self.job, self.machine.resolved(path))

    def obstacle(self, path: str, seen: Seen, wanted: int) -> str | None:
        """Return what keeps the job's user from a file: a directory or the file; ``None``:
        nothing."""
        resolved = PurePosixPath(self.machine.resolved(path))
        for directory in reversed(resolved.parents):
            above = self.machine.examine(str(directory))
            if isinstance(above, Seen) and not self._may(above, EXECUTE):
                return str(directory)
        return None if self._may(seen, wanted) else path

    def _may(self, seen: Seen, wanted: int) -> bool:
        account = self.account
        if account is None or seen.has_acl or self._has_capabilities:
            return True
        if account.uid == 0:
            return wanted != EXECUTE or seen.kind is FileKind.DIRECTORY or bool(seen.mode & 0o111)
        if seen.uid == account.uid:
            return bool(seen.mode >> 6 & wanted)
        if seen.gid in account.gids | self._further_groups:
            return bool(seen.mode >> 3 & wanted)
        return bool(seen.mode & wanted)

    @cached_property
    def _search_path(self) -> tuple[str, ...]:
        return tuple(each for _, line in self.lines("ExecSearchPath") for each in line.split(":"))

    @cached_property
    def _has_tests(self) -> bool:
        return any(directivelines.is_condition(name) for name, _ in self.job.directives)

    @cached_property
    def _has_capabilities(self) -> bool:
        return any(name == "AmbientCapabilities" for name, _ in self.job.directives)

    @cached_property
    def _further_groups(self) -> frozenset[int]:
        words = (
            word for _, line in self.lines("Group", "SupplementaryGroups") for word in line.split()
        )
        numbers = (self.machine.group(word) for word in words)
        return frozenset(number for number in numbers if number is not None)

    def _is_made(self, path: str) -> bool:
        """Tell if systemd, or a command of the job before, may make what is at a path."""
        if any(True for _ in self.lines("ExecStartPre")):
            return True
        made = (word.partition(":")[0] for _, line in self.lines(*_MAKES) for word in line.split())
        return any(f"/{name}/" in f"{path}/" for name in made)

    def _is_mounted(self, path: str) -> bool:
        mounted = (word for _, line in self.lines(*_MOUNTED) for word in line.split())
        return any(f"{path}/".startswith(f"{word.rstrip('/')}/") for word in mounted)
