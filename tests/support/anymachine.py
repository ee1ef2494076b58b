"""A machine with a booted systemd, whatever carries it: commands in it, files, conditions.

`machine.Machine` is a container, `vm.VirtualMachine` has a kernel and a clock of its own. What
both have is here, with the processes and locks of the host by which machines are found again.

Standard library only, as those.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import shlex
import subprocess
import tarfile
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

_Text = TypeVar("_Text", str, bytes)

USER = "luna"
"""The ordinary user (UID 1000) of every machine; lingering, so it has a user manager."""
PATIENCE = 5
"""How many times as long as a test says anything may take before it is given up.

What a test says is enough on an idle machine; a limit only ends what hangs, and shows no speed.
"""

_LOOKS = 6
"""How many times as long as a look the pause after it is."""
_LONGEST_PAUSE_S = 2

Caller = tuple[str | None, "Mapping[str, str] | None"]
"""Who runs a command, and with which variables."""


class AnyMachine(ABC):
    """A machine that is booted, or was."""

    usual_timeout: ClassVar[float] = 60
    """Seconds after which a command is given up."""
    usual_wait: ClassVar[float] = 30
    """Seconds after which a condition is given up."""
    interval: ClassVar[float] = 0.05
    """The least number of seconds between two looks at a condition; see `pause_after`."""

    def __init__(self, name: str, directory: Path, patience: float = 0) -> None:
        self.name = name
        self.directory = directory
        self._patience = patience
        """The least time, in seconds, that a caller gives to a command or a condition."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    @abstractmethod
    def down(self) -> None:
        """Take the machine down and remove everything of it. Does no harm if repeated."""

    @abstractmethod
    def _process(
        self, argv: Sequence[str], caller: Caller | None, data: bytes | None, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the machine without a unit.

        Without a `caller` it may do all that root may there: it asks systemd to run another one.
        """

    # Commands

    def run(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        check: bool = True,
        input: str | None = None,  # noqa: A002 (the name that subprocess.run gives it)
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a unit of the machine's systemd; a string is run by ``sh -c``.

        It has its own cgroup and none of the host's privileges. A failure raises
        `subprocess.CalledProcessError` (with the output as a note on Python ≥ 3.11) if `check`,
        and a command that does not end `subprocess.TimeoutExpired`.
        """
        data = None if input is None else input.encode(errors="surrogateescape")
        done = self.run_bytes(command, user=user, check=False, input=data, env=env, timeout=timeout)
        return checked(decoded(done), check)

    def run_bytes(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        check: bool = True,
        input: bytes | None = None,  # noqa: A002
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """`run`, with bytes for input and output."""
        argv = [*as_unit(user, env), *unexpanded(command_line(command))]
        done = self._process(argv, None, input, self.usual_timeout if timeout is None else timeout)
        done.args = command
        return checked(done, check)

    def exec(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        check: bool = True,
        input: str | None = None,  # noqa: A002
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine without a unit of its own: quicker than `run`.

        Good for looking and for talking to systemd. In a container it belongs to no cgroup of the
        machine, leaves nothing in its journal, and cannot set the clock.
        """
        data = None if input is None else input.encode(errors="surrogateescape")
        argv = command_line(command)
        done = self._process(
            argv, (user, env), data, self.usual_timeout if timeout is None else timeout
        )
        done.args = command
        return checked(decoded(done), check)

    def wait_for(
        self,
        condition: Callable[[], bool] | Sequence[str] | str,
        timeout: float | None = None,
        *,
        what: str = "",
        interval: float | None = None,
        user: str | None = None,
    ) -> None:
        """Wait until a predicate is true or a command (run by `exec`) succeeds.

        Raises `TimeoutError` that names `what`, or the condition itself; see `PATIENCE`.
        """
        given = self.usual_wait if timeout is None else timeout
        patience = max(given * PATIENCE, self._patience)
        end = time.monotonic() + patience
        least = self.interval if interval is None else interval
        while True:
            began = time.monotonic()
            if callable(condition):
                met = condition()
            else:
                met = self.exec(condition, user=user, check=False).returncode == 0
            if met:
                return
            now = time.monotonic()
            if now > end:
                raise TimeoutError(f"not within {patience:g} s: {what or condition}")
            time.sleep(pause_after(now - began, least))

    # Files

    def written(self, *paths: str) -> str:
        """Return a text that is another one once one of the files was written, or made anew."""
        looked = self.exec(["stat", "-c", "%i %s %.Y", "--", *paths], check=False)
        return looked.stdout

    def read_file(self, path: str) -> str:
        """Return the text of a file of the machine."""
        return self.exec(["cat", "--", path]).stdout

    def write_file(
        self, path: str, content: str | bytes, *, mode: int = 0o644, owner: str = "root"
    ) -> None:
        """Write a file of the machine, and the directories that it needs. It is not synced."""
        data = content.encode() if isinstance(content, str) else content
        script = (
            'mkdir -p -- "$(dirname -- "$1")" && cat >"$1" && chmod "$2" "$1" && chown "$3:" "$1"'
        )
        argv = ["sh", "-c", script, "sh", path, f"{mode:o}", owner]
        checked(self._process(argv, (None, None), data, self.usual_timeout), True)

    def copy(self, source: Path, target: str) -> None:
        """Copy a file or a directory of the host to the path `target` of the machine."""
        argv = ["tar", "-x", "-C", "/"]
        checked(self._process(argv, (None, None), packed(source, target), self.usual_timeout), True)


class MachineError(Exception):
    """The machine could not be made, booted or reached."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one with the same number."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]))  # field 22 of proc(5), counted from the state

    def is_alive(self) -> bool:
        return ProcessId.of(self.pid) == self


def command_line(command: Sequence[str] | str) -> list[str]:
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def unexpanded(argv: Sequence[str]) -> list[str]:
    """Keep systemd from expanding variables in the arguments, as it would in ExecStart=."""
    return [argv[0], *(argument.replace("$", "$$") for argument in argv[1:])]


def environment_of(user: str | None, extra: Mapping[str, str] | None) -> dict[str, str]:
    """What a login would set; the user's own bus too, if it is the lingering one."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root" if user in (None, "root") else f"/home/{user}",
        "USER": user or "root",
        "LOGNAME": user or "root",
        "SHELL": "/bin/sh",
    }
    if user == USER:
        environment["XDG_RUNTIME_DIR"] = "/run/user/1000"
        environment["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/run/user/1000/bus"
    return environment | dict(extra or {})


def as_unit(
    user: str | None, env: Mapping[str, str] | None, *, terminal: bool = False
) -> list[str]:
    argv = [
        "systemd-run",
        "--quiet",
        "--pty" if terminal else "--pipe",
        "--wait",
        "--collect",
        "--service-type=exec",
    ]
    argv += [f"--setenv={key}={value}" for key, value in environment_of(user, env).items()]
    if user:
        argv.append(f"--uid={user}")
    if user == USER:
        argv.append("--working-directory=/home/" + USER)
    return [*argv, "--"]


def decoded(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(
        done.args,
        done.returncode,
        done.stdout.decode(errors="surrogateescape"),
        done.stderr.decode(errors="surrogateescape"),
    )


def checked(
    done: subprocess.CompletedProcess[_Text], check: bool
) -> subprocess.CompletedProcess[_Text]:
    if check and done.returncode != 0:
        error = subprocess.CalledProcessError(
            done.returncode, done.args, output=done.stdout, stderr=done.stderr
        )
        if hasattr(error, "add_note"):  # Python ≥ 3.11
            for name, text in (("stdout", done.stdout), ("stderr", done.stderr)):
                shown = text.decode(errors="replace") if isinstance(text, bytes) else text
                if shown:
                    error.add_note(f"{name}: {shown[-3000:].rstrip()}")
        raise error
    return done


def packed(source: Path, target: str) -> bytes:
    """A tar archive of a file or a directory, which becomes root's, under the path `target`."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(source, arcname=target.lstrip("/"), filter=_as_root)
    return archive.getvalue()


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def host_command(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MachineError(f"{shlex.join(argv)}: {done.stderr.strip()}")


def host_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock; the kernel releases it if this process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def remove_tree(path: Path) -> None:
    """Remove a tree, if it is there, and nothing of what may be mounted in it."""
    host_command("rm", "-rf", "--one-file-system", "--", str(path))


def pause_after(took: float, least: float) -> float:
    """Return how long to wait, in seconds, after a look that took so long and saw nothing yet.

    Looking takes a seventh of the time at most: most of what the tests on a machine computed
    once was whether they had to wait on.
    """
    return max(least, min(_LOOKS * took, _LONGEST_PAUSE_S))


def wait_for_end(process: ProcessId, timeout: float) -> bool:
    """Wait until a process, a child of ours or not, is gone; False if it outlives `timeout`."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not process.is_alive():
            return True
        ready, _, _ = select.select([descriptor], [], [], timeout)
        return bool(ready)
    finally:
        os.close(descriptor)


def reap_later(process: subprocess.Popen[bytes]) -> None:
    """Let a thread collect the exit status, so that the ended container is no zombie."""
    threading.Thread(target=process.wait, daemon=True).start()
