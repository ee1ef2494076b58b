"""The directories and files that systemd opens for a job before its command runs."""

from __future__ import annotations

from collections.abc import Iterator

from lunasched.formats.pattern import pattern
from lunasched.units.needs.lack import Lack
from lunasched.units.needs.machinequestions import Absence, FileKind
from lunasched.units.needs.place import EXECUTE, NO_PROCESS, Place

_CHDIR, _NAMESPACE, _CREDENTIALS = 200, 226, 243
"""EXIT_CHDIR, EXIT_NAMESPACE and EXIT_CREDENTIALS of systemd.exec(5)."""
_SANDBOX_LISTS = (
    "read_only_paths", "read_write_paths", "inaccessible_paths", "exec_paths", "no_exec_paths",
)  # fmt: skip
_NOT_PLAIN = pattern(r"[%*?\[\"'\\]")


def file_lacks(place: Place) -> Iterator[Lack]:
    """Find directories and files that systemd would not find."""
    yield from _working_directory(place)
    yield from _environment_files(place)
    yield from _mounted(place)
    for name, line in place.lines("LoadCredential", "LoadCredentialEncrypted"):
        path = line.partition(":")[2]
        if path.startswith("/") and not _NOT_PLAIN.search(path):
            yield from _missing(place, f"systemd.{name}", path, exits=_CREDENTIALS)


def _working_directory(place: Place) -> Iterator[Lack]:
    key, path = "working_directory", place.job.working_directory
    if path is None or not path.startswith("/"):
        # With "-" before it, it may be missing.
        return
    seen = place.examine(path)
    if seen is Absence.FORBIDDEN:
        return
    if seen is Absence.NOTHING:
        yield from _missing(place, key, path, exits=_CHDIR)
        return
    assert not isinstance(seen, Absence)
    change = "change its mode or owner, or set another"
    if hidden := place.hides(path):
        what, change = f"{hidden} hides {path}", f"set another, or leave {hidden} out"
    elif seen.kind is not FileKind.DIRECTORY:
        what, change = f"{path} is not a directory", "set another"
    elif (at := place.obstacle(path, seen, EXECUTE)) and place.account:
        what = f"{place.account.name} may not enter {at}"
    else:
        return
    yield place.lack(key, path, what, exits=_CHDIR, remedy=change)


def _environment_files(place: Place) -> Iterator[Lack]:
    """The manager reads them, whoever the job runs as."""
    for name, path in place.lines("EnvironmentFile"):
        if path.startswith("/") and not _NOT_PLAIN.search(path):
            yield from _missing(place, f"systemd.{name}", path, exits=NO_PROCESS, dash=True)


def _mounted(place: Place) -> Iterator[Lack]:
    """Yield the missing paths that a sandbox binds or protects, except those marked with ``-``."""
    options = dict(place.job.sandbox)
    for key in _SANDBOX_LISTS:
        given = options.get(key)
        for path in given if isinstance(given, tuple) else ():
            if path.startswith("/"):
                yield from _missing(place, f"sandbox.{key}", path, exits=_NAMESPACE, dash=True)
    for name, line in place.lines("BindPaths", "BindReadOnlyPaths"):
        for word in line.split():
            path = word.partition(":")[0]
            if path.startswith("/") and not _NOT_PLAIN.search(path):
                yield from _missing(
                    place, f"systemd.{name}", path, exits=_NAMESPACE, dash=True, bound=True
                )


def _missing(
    place: Place, key: str, path: str, *, exits: int, dash: bool = False, bound: bool = False
) -> Iterator[Lack]:
    # The source of a bind mount is a path of the machine, whatever the job sees there.
    seen = place.machine.examine(path) if bound else place.examine(path)
    if seen is Absence.NOTHING:
        remedy = "make or mount it"
        remedy += (
            ", or write '-' before it if the job can do without" if dash else ", or set another"
        )
        yield place.lack(key, path, f"{path} is not there now", exits=exits, remedy=remedy)
