"""Tries what a sandbox forbids, and prints what became of it: run by the jobs of sandboxes.py.

    python3 sandbox_probe.py KEY...

Prints a JSON object: for each key "allowed", or the error. Standard library only; ``SCRATCH`` is
made by the test.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SCRATCH = Path("/srv/probe")
MARK = Path("/tmp/lunasched-probe")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER = 0x10000000
_PER_LINUX32 = 0x0008
_GET_NO_NEW_PRIVILEGES = 39


def _called(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(directory: Path) -> None:
    (directory / f"probe-{os.getuid()}").write_text("x")


def _mode(mode: int) -> None:
    file = SCRATCH / f"open/mode-{os.getpid()}"
    file.write_text("")
    file.chmod(mode)
    file.unlink()


def _masked() -> None:
    file = SCRATCH / f"open/mask-{os.getpid()}"
    file.write_text("")
    mode = file.stat().st_mode & 0o777
    file.unlink()
    # A user's manager has the umask of pam_umask, which from Debian 13 on is 002.
    _unless(mode in (0o644, 0o664), f"mode {mode:o}")


def _own(file: Path) -> None:
    os.chown(file, 1, 1)


def _unless(allowed: bool, why: str) -> None:
    if not allowed:
        raise OSError(0, why)


def _writable_mount(path: str) -> None:
    _unless(not os.statvfs(path).f_flag & os.ST_RDONLY, "read-only")


def _writable_control_groups() -> None:
    own_hierarchy = Path("/sys/fs/cgroup/systemd")
    _writable_mount(str(own_hierarchy if own_hierarchy.exists() else own_hierarchy.parent))


def _same_namespace(kind: str) -> None:
    """The machine's own, which the test has noted in ``SCRATCH``."""
    expected = (SCRATCH / f"namespace-{kind}").read_text().strip()
    _unless(str(Path(f"/proc/self/ns/{kind}").readlink()) == expected, "another namespace")


def _new_namespace() -> None:
    """In a process of its own, for the others are not to be in it."""
    child = os.fork()
    if child == 0:
        os._exit(ctypes.get_errno() if _LIBC.unshare(_CLONE_NEWUSER) < 0 else 0)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _unless(number == 0, os.strerror(number))


def _real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _executable_memory() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _no_new_privileges() -> None:
    _unless(_LIBC.prctl(_GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0) == 0, "no new privileges")


PROBES: dict[str, Callable[[], object]] = {
    "read_only_paths": lambda: _write(SCRATCH / "read-only/50% \"a\\b' c"),
    "read_write_paths": lambda: _write(SCRATCH / "open"),
    "inaccessible_paths": lambda: (SCRATCH / "secret/file").stat(),
    "no_exec_paths": lambda: subprocess.run([SCRATCH / "programs/true"], check=True),
    "exec_paths": lambda: subprocess.run([SCRATCH / "programs/true"], check=True),
    "private_tmp": lambda: MARK.stat(),
    "private_devices": lambda: Path("/dev/lunasched-probe").stat(),
    "private_network": lambda: _same_namespace("net"),
    "private_ipc": lambda: _same_namespace("ipc"),
    "private_users": lambda: _same_namespace("user"),
    "protect_home": lambda: _write(Path("/home/luna")),
    "protect_system": lambda: _writable_mount("/usr"),
    "protect_proc": lambda: Path("/proc/1/status").read_text(),
    "protect_kernel_tunables": lambda: _writable_mount("/proc/sys"),
    "protect_kernel_modules": lambda: Path("/usr/lib/modules/lunasched-probe").stat(),
    "protect_kernel_logs": lambda: _called(_LIBC.klogctl(10, None, 0)),
    "protect_control_groups": _writable_control_groups,
    "protect_clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "protect_hostname": lambda: socket.sethostname(socket.gethostname()),
    "no_new_privileges": _no_new_privileges,
    "restrict_suid_sgid": lambda: _mode(0o4755),
    "restrict_realtime": _real_time,
    "restrict_namespaces": _new_namespace,
    "restrict_address_families": lambda: socket.socket(socket.AF_INET).close(),
    "lock_personality": lambda: _called(_LIBC.personality(_PER_LINUX32)),
    "memory_deny_write_execute": _executable_memory,
    "system_call_filter": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "capability_bounding_set": lambda: _own(SCRATCH / "open/owned"),
    "umask": _masked,
}


def main() -> None:
    """Probe the keys, or all."""
    found = {}
    for key in sys.argv[1:] or PROBES:
        try:
            PROBES[key]()
            found[key] = "allowed"
        except (OSError, subprocess.CalledProcessError) as error:
            number = getattr(error, "errno", None)
            found[key] = errno.errorcode.get(number or 0, str(error))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
