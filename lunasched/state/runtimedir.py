"""Files that must not outlive a boot: marks of starts, the gate with its passes, facts for hooks.

Two directories below one that is the manager's own::

    by-hand/INSTANCE                a start by hand: a time since boot until which it counts
    by-hand/INSTANCE:launched       what started the launcher that started the service last
    by-hand/launch:NUMBER           locked by the launcher whose turn it is
    supervisor/starts/INSTANCE      a start by the supervisor: such a time, and "timer" for a slot
    supervisor/gate                 no job starts but with a pass
    supervisor/passes/INSTANCE      this one may
    supervisor/hooks/INSTANCE       the run that a hook is about, as NAME=value lines

``by-hand`` is for commands, which may be root's: they open nothing that the supervisor, who may not
be, could have put there. ``supervisor`` is its ``RuntimeDirectory=``, which nobody else writes.
When the supervisor ends, however it does, systemd removes the gate and the passes
(``ExecStopPost=``), so that its death opens the gate; the rest stays for the starts and hooks that
are on their way.

Of a command that carries a notification, ``hooks/INSTANCE.text`` is its standard input. It can
hold what a job printed, so an access control list lets the job's user alone read it (acl(5)).
"""

from __future__ import annotations

import errno
import os
import pwd
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lunasched.formats.unittext import instance_name
from lunasched.paths import (
    BY_HAND_DIRECTORY,
    EXCLUSIVE_DIRECTORY,
    GATE_FILE,
    HOOKS_DIRECTORY,
    PASSES_DIRECTORY,
    STARTS_DIRECTORY,
    SUPERVISOR_DIRECTORY,
)

# The mark of a killed "lunasched start" says nothing about later starts.
_MARKED_USEC = 60_000_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class GateView:
    """The gate as commands see it, without opening anything."""

    def __init__(self, runtime: Path) -> None:
        self._gate = runtime / SUPERVISOR_DIRECTORY / GATE_FILE
        self._exclusive = runtime.parent / EXCLUSIVE_DIRECTORY

    def is_shut(self) -> bool:
        """Tell whether jobs need a pass."""
        return os.path.lexists(self._gate)

    def exclusive_runs(self) -> bool:
        """Tell whether an Exclusive job is running: its unit has a runtime directory as long."""
        return os.path.lexists(self._exclusive)


class MarkDirectory:
    """Marks of starts that use up no slot."""

    def __init__(self, runtime: Path) -> None:
        self.path = runtime / BY_HAND_DIRECTORY

    @contextmanager
    def by_hand(self, job: str) -> Iterator[None]:
        """While this lasts, a start of the job is by hand.

        Where that cannot be written the job starts all the same, and the guard asks systemd.
        """
        with suppress(OSError), self._opened() as opened:
            _write(opened, instance_name(job), _mark())
        try:
            yield
        finally:
            with suppress(OSError), self._opened() as opened:
                os.unlink(instance_name(job), dir_fd=opened)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor of the directory, which is made where it is not there.

        That of an earlier version belongs to the supervisor: nothing is opened in it.
        """
        with suppress(FileExistsError):
            self.path.parent.mkdir(mode=0o755)
        above = os.open(self.path.parent, _DIRECTORY)
        try:
            if os.fstat(above).st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "not one's own", str(self.path.parent))
            with suppress(FileExistsError):
                os.mkdir(self.path.name, 0o755, dir_fd=above)
            opened = os.open(self.path.name, _DIRECTORY, dir_fd=above)
            # Guards read it, as the users of jobs.
            for descriptor in (above, opened):
                os.fchmod(descriptor, 0o755)
        finally:
            os.close(above)
        try:
            yield opened
        finally:
            os.close(opened)


class RuntimeDirectory:
    """The supervisor's part of the directory of one mode."""

    def __init__(self, runtime: Path) -> None:
        self.path = runtime / SUPERVISOR_DIRECTORY
        self._gate = GateView(runtime)

    def mark_start(self, job: str, *, for_slot: bool) -> None:
        """Say of a start of the job in the next minute that it is ours, and for a slot or for none.

        systemd knows only that it is none by the timer.
        """
        with suppress(OSError):
            self._write(STARTS_DIRECTORY, instance_name(job), _mark("timer" if for_slot else ""))

    def unmark_start(self, job: str) -> None:
        """Take the mark back."""
        self._remove(STARTS_DIRECTORY, instance_name(job))

    def clear(self) -> None:
        """Begin anew, after a supervisor that systemd did not clean up after."""
        self.open_gate()
        with suppress(OSError):
            for entry in (self.path / PASSES_DIRECTORY).iterdir():
                entry.unlink(missing_ok=True)

    def exclusive_runs(self) -> bool:
        """Tell whether an Exclusive job is running."""
        return self._gate.exclusive_runs()

    def shut_gate(self) -> None:
        """Let no job start without a pass; raises ``OSError``."""
        self._write("", GATE_FILE, "")

    def open_gate(self) -> None:
        """Let every job start."""
        self._remove("", GATE_FILE)

    def gate_is_shut(self) -> bool:
        """Tell whether jobs need a pass."""
        return self._gate.is_shut()

    def grant(self, unit: str) -> None:
        """Give a unit a pass; raises ``OSError``."""
        self._write(PASSES_DIRECTORY, _instance(unit), "")

    def revoke(self, unit: str) -> None:
        """Take the pass back."""
        self._remove(PASSES_DIRECTORY, _instance(unit))

    def describe_run(self, hook_unit: str, facts: Mapping[str, str]) -> None:
        """Write what the hook will find in its environment; raises ``OSError``."""
        self._write(HOOKS_DIRECTORY, _instance(hook_unit), _lines(facts))

    def give_notification(
        self, hook_unit: str, facts: Mapping[str, str], text: str, reader: str | None
    ) -> None:
        """Write what a command will find in its environment and on its standard input.

        ``reader`` is the user that it runs as, ``None`` for oneself or root. Raises ``OSError``,
        and ``KeyError`` where there is no such user.
        """
        uid = None if reader is None else pwd.getpwnam(reader).pw_uid
        for name, content in (("", _lines(facts)), (".text", text)):
            self._write(
                HOOKS_DIRECTORY, _instance(hook_unit) + name, content, secret=True, reader=uid
            )

    def forget_notification(self, hook_unit: str) -> None:
        """Remove what a command has found."""
        for name in ("", ".text"):
            self._remove(HOOKS_DIRECTORY, _instance(hook_unit) + name)

    def _write(
        self,
        directory: str,
        name: str,
        text: str,
        *,
        secret: bool = False,
        reader: int | None = None,
    ) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
        with self._opened(directory, make=True) as opened:
            _write(opened, name, text, secret=secret, reader=reader)

    def _remove(self, directory: str, name: str) -> None:
        with suppress(OSError), self._opened(directory) as opened:
            os.unlink(name, dir_fd=opened)

    @contextmanager
    def _opened(self, directory: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of the directory, or of one in it, through no link."""
        opened = os.open(self.path, _DIRECTORY)
        try:
            if directory:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(directory, 0o755, dir_fd=opened)
                inner = os.open(directory, _DIRECTORY, dir_fd=opened)
                os.close(opened)
                opened = inner
            yield opened
        finally:
            os.close(opened)


def _write(
    directory: int, name: str, text: str, *, secret: bool = False, reader: int | None = None
) -> None:
    """A new file each time: whoever reads the old one reads it whole."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        if not secret:
            os.fchmod(file, 0o644)
        elif reader is not None:
            os.setxattr(file, "system.posix_acl_access", _acl(reader))
        with os.fdopen(os.dup(file), "wb") as stream:
            stream.write(text.encode(errors="replace"))
    finally:
        os.close(file)


def _mark(cause: str = "") -> str:
    return f"{_uptime() + _MARKED_USEC} {cause}".rstrip() + "\n"


def _lines(facts: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in facts.items())


def _acl(uid: int) -> bytes:
    """Reading and writing for the owner, reading for one user, as the kernel has it.

    Version 2 of a list of tag, permissions and ID: owner, user, group, mask, others.
    """
    nobody = (1 << 32) - 1
    entries = ((1, 6, nobody), (2, 4, uid), (4, 0, nobody), (16, 4, nobody), (32, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _instance(unit: str) -> str:
    """The instance part of a unit's name, as ``%i`` has it."""
    return unit.partition("@")[2].removesuffix(".service")


def _uptime() -> int:
    """Microseconds since boot, as the slot guard reads them."""
    return int(Path("/proc/uptime").read_text().split()[0].replace(".", "")) * 10_000
