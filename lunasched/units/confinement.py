"""The needs of guards in a job's sandbox, in which they run as the job's user.

A guard has no more rights than its job: whoever has a say in the job's environment gains nothing
by it. In turn the job may be kept from what the guard needs, so each way to do that is in one of
the tables here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.formats import unittext
from lunasched.formats.unittext import UnitText
from lunasched.jobs.model import Job

_PROGRAM = "/usr/bin/bash"
_LIBRARIES = ("/usr/lib", "/usr/lib64")
_MULTIARCH = "-linux-gnu"
# On all distributions that systemd still supports, these are links.
_MERGED = ("/bin", "/sbin", "/lib64", "/lib")

_HOMES = ("/home", "/root", "/run/user")
_HIDES: Mapping[tuple[str, object], Sequence[str]] = {
    ("protect_home", True): _HOMES,
    ("protect_home", "tmpfs"): _HOMES,
    ("private_tmp", True): ("/tmp", "/var/tmp"),
}
_MAKES_READ_ONLY: Mapping[tuple[str, object], Sequence[str]] = {
    ("protect_home", "read-only"): _HOMES,
    ("protect_system", "strict"): ("/",),
}
"""The options, and their values, that hide directories from a job, or make them read-only."""

_OTHER_ROOTS = (
    "RootDirectory", "RootImage", "MountImages", "ExtensionImages", "ExtensionDirectories",
    "InaccessibleDirectories", "ReadOnlyDirectories", "RestrictFileSystems", "AppArmorProfile",
    "SELinuxContext", "SmackProcessLabel",
)  # fmt: skip
"""Directives that give a job other files, or rules for files that only its author knows."""
_MOUNTS = ("BindPaths", "BindReadOnlyPaths", "TemporaryFileSystem")
"""Directives that put other files into the place of some."""

_GROUPS_WITH_ALL = ("@system-service",)
_CALLS = frozenset(
    (
        "@basic-io", "@default", "@file-system", "@ipc", "@known", "@process", "@signal",
        "@system-service", "access", "arch_prctl", "brk", "clone", "clone3", "close", "dup2",
        "execve", "exit", "exit_group", "fcntl", "fstat", "fstatfs", "futex", "getegid", "geteuid",
        "getgid", "getpgrp", "getpid", "getppid", "getrandom", "getuid", "ioctl", "lseek", "mmap",
        "mprotect", "munmap", "newfstatat", "open", "openat", "pipe", "pipe2", "pread64",
        "prlimit64", "read", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
        "set_robust_list", "set_tid_address", "stat", "sysinfo", "uname", "wait4", "write",
    )
)  # fmt: skip
"""The system calls of a guard, as traced, and the groups that have some of them."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The files that guards of one mode need, apart from the shell."""

    slots: Path
    scripts: Path

    def obstacle(self, job: Job) -> str | None:
        """Return the setting that keeps the job's guards from working, and why, or ``None``.

        What is not known to leave them all that they need counts as an obstacle.
        """
        return next(self._obstacles(job), None)

    def _obstacles(self, job: Job) -> Iterator[str]:
        options = dict(job.sandbox)
        needed = (_PROGRAM, *_LIBRARIES, str(self.slots), str(self.scripts))
        for key, path in _listed(options, "inaccessible_paths", _HIDES):
            for hidden in (each for each in needed if _is_below(each, path)):
                yield f"sandbox.{key}: it hides {hidden}"
            if _is_library(path):
                yield f"sandbox.{key}: it hides {path}"
        allowed = [path for _, path in _listed(options, "exec_paths", {})]
        for key, path in _listed(options, "no_exec_paths", {}):
            for program in (_PROGRAM, *_LIBRARIES):
                again = any(_is_below(program, each) and _is_below(each, path) for each in allowed)
                if _is_below(program, path) and not again:
                    yield f"sandbox.{key}: nothing in {program} can be executed"
            if _is_library(path):
                yield f"sandbox.{key}: nothing in {path} can be executed"
        if not _lets_calls_pass(options.get("system_call_filter", ())):
            yield "sandbox.system_call_filter: it is not known to let a shell run"
        for name, value in job.directives:
            lines = (value,) if isinstance(value, str) else value
            if name in _OTHER_ROOTS and any(lines):
                yield f"systemd.{name}: the job has other files"
            if name in _MOUNTS:
                for path in (_target(word) for line in lines for word in line.split()):
                    if _is_library(path) or any(_is_below(each, path) for each in needed):
                        yield f"systemd.{name}: there are other files in {path}"

    def writable_again(self, job: Job, files: Iterable[str]) -> list[tuple[UnitText, UnitText]]:
        """The directives that let a job write those of its files in ``slots`` which it could not.

        None where the sandbox leaves them writable: a name space of its own costs each run time.
        """
        options = dict(job.sandbox)
        paths = [path for _, path in _listed(options, "read_only_paths", _MAKES_READ_ONLY)]
        if not any(
            _is_below(str(self.slots), path) or _is_below(path, str(self.slots)) for path in paths
        ):
            return []
        return [
            (UnitText("ReadWritePaths"), unittext.listed_path(f"-{self.slots / name}"))
            for name in files
        ]


def hides(job: Job, path: str) -> str | None:
    """Return the option of a job's sandbox that hides a path from it, or ``None``."""
    found = _listed(dict(job.sandbox), "inaccessible_paths", _HIDES)
    return next(
        (f"sandbox.{key}" for key, hidden in found if _is_below(_merged(path), hidden)), None
    )


def forbids_execution(job: Job, path: str) -> str | None:
    """Return the option of a job's sandbox that lets it execute nothing at a path, or ``None``."""
    options = dict(job.sandbox)
    path = _merged(path)
    allowed = [each for _, each in _listed(options, "exec_paths", {}) if _is_below(path, each)]
    for key, denied in _listed(options, "no_exec_paths", {}):
        if _is_below(path, denied) and not any(_is_below(each, denied) for each in allowed):
            return f"sandbox.{key}"
    return None


def has_other_files(job: Job, path: str) -> bool:
    """Tell if directives give a job other files at a path than the machine has."""
    for name, value in job.directives:
        lines = [line for line in ((value,) if isinstance(value, str) else value) if line]
        if name in _OTHER_ROOTS and lines:
            return True
        if name in _MOUNTS:
            places = (_target(word) for line in lines for word in line.split())
            if any(_is_below(_merged(path), each) for each in places):
                return True
    return False


_GUARDS = ("guard", "overlap_guard", "dependency_check", "exit_note")


def outside(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a service's template with all guards outside of the sandbox (``+``).

    Only for user mode, where nothing has more rights than the user.
    """
    found = dict(values)
    for name in _GUARDS:
        if found.get(name) is not None:
            found[name] = UnitText(f"+{found[name].text}")
    if found.get("success") is not None:
        found["success"] = {
            key: UnitText(f"+{line.text}") for key, line in found["success"].items()
        }
    return found


def _listed(
    options: Mapping[str, object], key: str, implied: Mapping[tuple[str, object], Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """The paths of an option, and those of others that mean the same, each with its key."""
    given = options.get(key)
    for path in given if isinstance(given, tuple) else ():
        yield key, _merged(path.lstrip("-+"))
    for (other, value), paths in implied.items():
        if other in options and options[other] == value:
            for path in paths:
                yield other, path


def _target(word: str) -> str:
    """The place of a mount, ``SOURCE:PLACE:OPTIONS`` or ``PLACE``, among a job's files."""
    source, _, rest = word.strip("\"'").lstrip("-+").partition(":")
    place = rest.partition(":")[0]
    return _merged(place if place.startswith("/") else source)


def _merged(path: str) -> str:
    path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    top = next((top for top in _MERGED if _is_below(path, top)), "")
    return f"/usr{path}" if top else path


def _is_below(path: str, directory: str) -> bool:
    return directory == "/" or path == directory or path.startswith(f"{directory}/")


def _is_library(path: str) -> bool:
    """Tell whether the libraries of programs may be in a directory, which is not above all of
    them."""
    return any(_is_below(path, each) for each in _LIBRARIES) and _MULTIARCH in path


def _lets_calls_pass(value: object) -> bool:
    words = [word.partition(":")[0] for word in value] if isinstance(value, tuple) else []
    denied = {word.removeprefix("~") for word in words if word.startswith("~")}
    listed = [word for word in words if not word.startswith("~")]
    # The first word says whether what is not named is allowed.
    allows_rest = not words or words[0].startswith("~")
    known = allows_rest or any(word in _GROUPS_WITH_ALL for word in listed)
    return known and not denied & _CALLS
