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

from anymachine import (
    PATIENCE,
    USER,
    AnyMachine,
    MachineError,
    ProcessId,
    environment_of,
    host_boot_id,
    locked,
    remove_tree,
)
from machine import cache_directory
from vm_image import boot_initrd, image
from vm_qemu import Qemu, kill, why_unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anymachine import Caller

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class VirtualMachine(AnyMachine):
    """A booted virtual machine. Make one with `boot`."""

    # An emulated processor may share its core.
    usual_timeout = 180
    usual_wait = 180
    interval = 0.2

    def __init__(self, name: str, directory: Path, suite: str, patience: float) -> None:
        super().__init__(name, directory, patience)
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
        self._wait_until_booted(max(timeout, self._patience))

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

    def knows_oom_kills(self) -> bool:
        """Tell that its systemd learns of the kernel's kills, from the files of cgroup v2."""
        return True

    def _process(
        self, argv: Sequence[str], caller: Caller | None, data: bytes | None, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        timeout = max(timeout, self._patience)
        user, env = caller or (None, None)
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
