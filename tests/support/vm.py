"""A Debian with a kernel, a clock and a power switch of its own: a qemu virtual machine.

For what a container (`machine.Machine`) cannot show: clock steps, the nights on which the
time changes, power cuts, cgroup v2 on any host. The methods are those of `Machine`:

    with VirtualMachine.boot(clock=datetime(2030, 10, 26, 22, tzinfo=timezone.utc)) as vm:
        vm.set_timezone("Europe/Berlin")
        vm.travel([datetime(2030, 10, 27, 0, 30, tzinfo=timezone.utc)])
        vm.power_cut(down_for=timedelta(hours=1))

It boots in 15 to 30 s under qemu's software emulation, and in a few seconds where ``/dev/kvm``
works; ``LUNASCHED_VM_ACCEL=tcg`` (or ``kvm``) chooses. The host's clock is not
involved: the machine's starts where it is told to and runs on the host's monotonic clock.

systemd 252 accepts a clock, when it boots, from its own build time to 15 years after it; set
while it runs, it may be any.

Standard library only, as `machine`.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import secrets
import subprocess
import time
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import (
    PATIENCE,
    USER,
    MachineError,
    ProcessId,
    as_unit,
    cache_directory,
    checked,
    command_line,
    decoded,
    environment_of,
    host_boot_id,
    locked,
    packed,
    remove_tree,
    unexpanded,
)
from vm_image import boot_initrd, image
from vm_qemu import Qemu, kill, why_unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

GIVE_UP_S = 180.0
"""After how long a command or a condition is given up: an emulated processor may share its core."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class VirtualMachine:
    """A booted virtual machine. Make one with `boot`."""

    def __init__(self, name: str, directory: Path, suite: str, patience: float) -> None:
        self.name = name
        self.directory = directory
        self._patience = patience
        self._image = image(suite)
        self._machine_id = uuid.uuid4().hex
        self._qemu: Qemu | None = None

    @classmethod
    def boot(
        cls,
        name_prefix: str = "vm",
        *,
        suite: str = "bookworm",
        clock: datetime | None = None,
        patience: float = 0,
    ) -> VirtualMachine:
        """Make a machine with a disk of its own and wait until it is up.

        A copy of the repository, as it is now, is at /opt/lunasched (read-only), its commands in
        /usr/local/bin. The clock starts at `clock`, or at the host's time. No time that a caller
        gives to a command or a condition is less than the `patience`, in seconds: tests that are
        written for a container give what suits one.
        """
        if reason := why_unavailable():
            raise MachineError(reason)
        remove_leftovers()
        name = f"{name_prefix}-{secrets.token_hex(3)}"
        machine = cls(name, state_root() / name, suite, patience)
        with locked(state_root() / ".lock"):
            machine.directory.mkdir(mode=0o700)
            machine._save_state()
        atexit.register(machine._down_at_exit, os.getpid())
        try:
            machine._make_disk()
            machine.start(clock)
        except BaseException:
            machine.down()
            raise
        return machine

    def __enter__(self) -> VirtualMachine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    # Up and down

    def is_up(self) -> bool:
        """Whether qemu runs, the machine in it booted or still booting."""
        return self._qemu is not None and self._qemu.is_alive()

    def start(self, clock: datetime | None = None, timeout: float = 180) -> None:
        """Switch on, on the disk that is there, and wait until the boot is complete."""
        if self.is_up():
            raise MachineError(f"{self.name} is up already")
        initrd = boot_initrd(self._image, self.name, self._machine_id)
        (self.directory / "initrd").write_bytes(initrd)
        now = clock or datetime.now(timezone.utc)
        self._qemu = Qemu(self.name, self.directory, self._image, now)
        self._save_state()
        self._wait_until_booted(timeout)

    def kill(self) -> None:
        """Cut the power: what the machine has not synced to its disk is lost. See `start`."""
        if self._qemu:
            self._qemu.kill()
            self._qemu = None

    def power_cut(self, down_for: timedelta = timedelta(0)) -> None:
        """Cut the power and switch on again, on the same disk, `down_for` later by its clock."""
        clock = self.now()
        self.kill()
        self.start(clock + down_for)

    def reboot(self, down_for: timedelta = timedelta(0), timeout: float = 120) -> None:
        """Shut down in order and boot again, `down_for` later by the machine's clock."""
        if self._qemu is None:
            raise MachineError(f"{self.name} is not up")
        clock, began = self.now(), time.monotonic()
        self.exec(["systemctl", "--no-block", "reboot"])
        if not self._qemu.wait(timeout * PATIENCE):  # -no-reboot: qemu ends instead
            raise MachineError(
                f"{self.name} did not shut down in {timeout * PATIENCE:g} s{self._console()}"
            )
        clock += timedelta(seconds=time.monotonic() - began)
        self.kill()
        self.start(clock + down_for)

    def down(self) -> None:
        """Take the machine down and remove everything of it. Does no harm if repeated."""
        atexit.unregister(self._down_at_exit)
        self.kill()
        remove_tree(self.directory)

    def _down_at_exit(self, owner: int) -> None:
        if owner == os.getpid():  # and not a process that it forked
            self.down()

    def _save_state(self) -> None:
        owner = ProcessId.of(os.getpid())
        processes = {"owner": owner, "qemu": self._qemu and self._qemu.process}
        state = {
            "boot_id": host_boot_id(),
            **{key: [each.pid, each.start_time] for key, each in processes.items() if each},
        }
        partial = self.directory / "state.json.partial"
        partial.write_text(json.dumps(state))
        partial.rename(self.directory / "state.json")

    def _make_disk(self) -> None:
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b"]
        argv += [str(self._image.disk), str(self.directory / "disk.qcow2")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MachineError(f"qemu-img: {done.stderr.strip()}")

    def _wait_until_booted(self, timeout: float) -> None:
        self._ask({}, timeout)  # the agent comes up during the boot
        state = self.exec(
            ["systemctl", "is-system-running", "--wait"], check=False, timeout=timeout
        )
        if state.stdout.strip() not in ("running", "degraded"):
            raise MachineError(f"{self.name} is {state.stdout.strip()!r}{self._console()}")
        self.exec(["systemctl", "start", "user@1000.service"])

    def _console(self) -> str:
        """The end of what the machine and qemu said, for an error message."""
        text = ""
        for name in ("qemu.log", "console.log"):
            with contextlib.suppress(OSError):
                text += (self.directory / name).read_text(errors="replace")[-3000:]
        return f"; its console:\n{text}" if text else ""

    # Clock

    def now(self) -> datetime:
        """The machine's clock, in UTC."""
        return _EPOCH + timedelta(microseconds=self._ask({})["now"] // 1000)

    def set_clock(self, clock: datetime) -> None:
        """Step the machine's clock, as ``date --set`` would. Nothing synchronises it."""
        microseconds = (clock - _EPOCH) // timedelta(microseconds=1)
        self._ask({"set_clock": microseconds * 1000})

    def step_clock(self, step: timedelta) -> None:
        """Step the machine's clock forwards or backwards."""
        self.set_clock(self.now() + step)

    def set_timezone(self, zone: str) -> None:
        """Set the machine's time zone through timedate1, which announces it on D-Bus."""
        self.exec(["timedatectl", "set-timezone", zone])

    def wait_until(self, clock: datetime) -> None:
        """Let time pass at its own speed until the machine's clock shows `clock`."""
        while (left := (clock - self.now()).total_seconds()) > 0:
            time.sleep(min(left, 1))

    def travel(
        self, moments: Iterable[datetime], *, before: float = 1.5, after: float = 1.5
    ) -> None:
        """Live through the `moments`, in their order, at real speed, and skip the time between.

        The clock is stepped forwards to `before` seconds ahead of each and then runs to `after`
        seconds past it; it is never stepped backwards. systemd sees every step
        (``TFD_TIMER_CANCEL_ON_SET``), so a timer that elapses between two moments fires at once,
        late, when it is stepped over. Monotonic timers do not notice any of it.
        """
        ordered = sorted(moments)
        if ordered and ordered[0] < self.now():
            raise ValueError(f"{ordered[0]} is past by the machine's clock, {self.now()}")
        for moment in ordered:
            start = moment - timedelta(seconds=before)
            if self.now() < start:
                self.set_clock(start)
            self.wait_until(moment + timedelta(seconds=after))

    # Commands

    def run(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        check: bool = True,
        input: str | None = None,  # noqa: A002 (the name that subprocess.run gives it)
        env: Mapping[str, str] | None = None,
        timeout: float = GIVE_UP_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a unit of the machine's systemd; a string is run by ``sh -c``.

        Raises `subprocess.CalledProcessError` for a failure if `check`, and
        `subprocess.TimeoutExpired` after `timeout` seconds.
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
        timeout: float = GIVE_UP_S,
    ) -> subprocess.CompletedProcess[bytes]:
        """`run`, with bytes for input and output."""
        argv = [*as_unit(user, env), *unexpanded(command_line(command))]
        done = self._execute(argv, None, None, input, timeout)
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
        timeout: float = GIVE_UP_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a child of the agent, without a unit of its own: quicker than `run`."""
        data = None if input is None else input.encode(errors="surrogateescape")
        done = self._execute(command_line(command), user, env, data, timeout)
        done.args = command
        return checked(decoded(done), check)

    def wait_for(
        self,
        condition: Callable[[], bool] | Sequence[str] | str,
        timeout: float = GIVE_UP_S,
        *,
        what: str = "",
        interval: float = 0.2,
        user: str | None = None,
    ) -> None:
        """Wait until a predicate is true or a command (run by `exec`) succeeds.

        Raises `TimeoutError` that names `what`, or the condition itself.
        """
        timeout = max(timeout * PATIENCE, self._patience)
        end = time.monotonic() + timeout
        while True:
            if callable(condition):
                met = condition()
            else:
                met = self.exec(condition, user=user, check=False).returncode == 0
            if met:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"not within {timeout:g} s: {what or condition}")
            time.sleep(interval)

    def has_cgroup_v2(self) -> bool:
        """Tell that its cgroups are those of the unified hierarchy, whatever the host has."""
        return True

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
        checked(self._execute(argv, None, None, data, GIVE_UP_S), True)

    def copy(self, source: Path, target: str) -> None:
        """Copy a file or a directory of the host to the path `target` of the machine."""
        argv = ["tar", "-x", "-C", "/"]
        checked(self._execute(argv, None, None, packed(source, target), GIVE_UP_S), True)

    def _execute(
        self,
        argv: Sequence[str],
        user: str | None,
        env: Mapping[str, str] | None,
        data: bytes | None,
        timeout: float,
    ) -> subprocess.CompletedProcess[bytes]:
        timeout = max(timeout, self._patience)
        request = {
            "argv": list(argv),
            "user": user,
            "env": environment_of(user, env),
            "cwd": f"/home/{USER}" if user == USER else "/",
            "input": base64.b64encode(data or b"").decode(),
            "timeout": timeout * PATIENCE,
        }
        answer = self._ask(request, timeout + 30)
        out, err = (base64.b64decode(answer[key]) for key in ("stdout", "stderr"))
        if answer["code"] is None:
            raise subprocess.TimeoutExpired(list(argv), timeout, out, err)
        return subprocess.CompletedProcess(argv, answer["code"], out, err)

    def _ask(self, request: dict[str, Any], timeout: float = 30) -> dict[str, Any]:
        if self._qemu is None:
            raise MachineError(f"{self.name} is not up")
        try:
            return self._qemu.ask(request, timeout * PATIENCE)
        except OSError as error:
            raise MachineError(f"{self.name} does not answer: {error}{self._console()}") from error


def state_root() -> Path:
    """Where the machines that are up keep their disks and their state."""
    # Not in /run, which is memory: a machine's disk grows to some hundred MB.
    return cache_directory() / "vms"


def remove_leftovers() -> None:
    """Take down the machines whose owner is gone."""
    root = state_root()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(root / ".lock"):
        for directory in [each for each in root.iterdir() if each.is_dir()]:
            try:
                state = json.loads((directory / "state.json").read_text())
            except (OSError, ValueError):
                state = {}
            processes = {
                key: ProcessId(*state[key])
                for key in ("owner", "qemu")
                if key in state and state["boot_id"] == host_boot_id()
            }
            if "owner" in processes and processes["owner"].is_alive():
                continue
            if "qemu" in processes:
                kill(processes["qemu"])
            remove_tree(directory)
