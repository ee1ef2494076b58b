"""qemu as the switch, the clock and the line to the inside of a virtual machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymachine import MachineError, ProcessId, reap_later, wait_for_end
from cpushare import CpuShare

if TYPE_CHECKING:
    from vm_image import Image

QEMU = "qemu-system-x86_64"
AGENT_PORT = "lunasched.agent"
_MACHINES = 4
"""As how many containers it counts: its processor is emulated, for one that is twenty times."""
_PROCESSORS = {"kvm": ("max", "2"), "tcg": ("qemu64", "1")}
"""By the accelerator, the processor and how many there are.

Emulated, two take a third more of the host's time for the same work than one, as each then has to
be careful of the other, and the vector instructions of newer ones are slow.
"""
KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "quiet",
    "rdinit=/init",
    "panic=-1",
    "mitigations=off",
    "no_timer_check",  # it fails where qemu waits for a processor, and the clock is wrong then
    "no-kvmclock",  # its wall clock is the host's; without it the kernel asks the RTC, ours
    "systemd.show_status=no",
    "systemd.unit=multi-user.target",
)


def why_unavailable() -> str | None:
    """What keeps this host from running virtual machines, as a sentence; None if nothing does."""
    missing = [tool for tool in (QEMU, "qemu-img", "mke2fs") if shutil.which(tool) is None]
    if missing:
        return (
            f"no virtual machine: {', '.join(missing)} not found; "
            "run tests/support/setup.sh as root"
        )
    if os.geteuid() != 0:
        return "no virtual machine: only root can make its image; use sudo"
    return None


def accelerator() -> str:
    """The qemu accelerator to use, ``kvm`` or ``tcg``."""
    chosen = os.environ.get("LUNASCHED_VM_ACCEL")
    return chosen or ("kvm" if _kvm_works() else "tcg")


def _kvm_works() -> bool:
    # The device may be there, and even make a virtual machine, whose first instruction then
    # never ends: seen on a host that is itself virtual and has no nested virtualisation.
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    if not flags or not {"vmx", "svm"} & set(flags[1].split()):
        return False
    create_vm = 0xAE01  # KVM_CREATE_VM
    with contextlib.suppress(OSError):
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.close(fcntl.ioctl(kvm, create_vm, 0))
            return True
        finally:
            os.close(kvm)
    return False


class Qemu:
    """One run of qemu, from power on to power off, in the machine's directory.

    That holds disk.qcow2 and initrd; console.log and qemu.log are written to it.
    """

    def __init__(self, name: str, directory: Path, image: Image, clock: datetime) -> None:
        ours, theirs = socket.socketpair()
        with theirs, (directory / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                _command(name, directory, image, clock, theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the tests is not for the machine
            )
        self._share = CpuShare(f"{name}-{process.pid}", _MACHINES)
        self._share.give(process.pid)
        self.process = ProcessId.of(process.pid)
        self._agent = _Agent(ours)
        reap_later(process)

    def is_alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; False if it has not after `timeout` seconds."""
        return self.process is None or wait_for_end(self.process, timeout)

    def kill(self) -> None:
        """Cut the power."""
        if self.process:
            kill(self.process)
        self._share.close()
        self._agent.close()

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Have ``vm_files/agent.py`` do something; raises `OSError` if it does not answer."""
        return self._agent.ask(request, timeout)


def kill(qemu: ProcessId) -> None:
    """End a qemu at once, a child of ours or not."""
    if qemu.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(qemu.pid, signal.SIGKILL)
        wait_for_end(qemu, 10)


def _command(name: str, directory: Path, image: Image, clock: datetime, agent: int) -> list[str]:
    base = clock.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    accel = accelerator()
    processor, number = _PROCESSORS[accel]
    disk = f"file={_option(directory / 'disk.qcow2')}"
    return [
        QEMU,
        *("-name", name),
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none", "-monitor", "none"),
        *("-machine", "q35"),
        *("-accel", accel),
        *("-cpu", processor, "-smp", number, "-m", "1024"),
        *("-kernel", str(image.kernel), "-initrd", str(directory / "initrd")),
        *("-append", " ".join(KERNEL_ARGUMENTS)),
        *("-rtc", f"base={base},clock=vm"),
        *("-chardev", f"file,id=console,path={_option(directory / 'console.log')}"),
        *("-serial", "chardev:console"),
        *("-drive", f"{disk},if=none,id=disk,format=qcow2"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=agent,fd={agent}"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
    ]


def _option(path: Path) -> str:
    """A path within a qemu option, where a comma would end it."""
    return str(path).replace(",", ",,")


class _Agent:
    """The host's end of the line to ``vm_files/agent.py``; one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._last_id = 0

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Return the answer; raises `OSError`, and `MachineError` for a request that failed."""
        self._last_id += 1
        end = time.monotonic() + timeout
        self._connection.settimeout(timeout)
        self._connection.sendall(json.dumps({"id": self._last_id, **request}).encode() + b"\n")
        while True:
            answer: dict[str, Any] = json.loads(self._line(end))
            if answer["id"] == self._last_id:  # else: of a request that was given up
                if "error" in answer:
                    raise MachineError(answer["error"])
                return answer

    def _line(self, end: float) -> bytes:
        while b"\n" not in self._received:
            self._connection.settimeout(max(0.001, end - time.monotonic()))
            received = self._connection.recv(1 << 20)
            if not received:
                raise ConnectionError("it went down")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return line

    def close(self) -> None:
        self._connection.close()
