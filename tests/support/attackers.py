"""A machine with the system's jobs, and somebody on it who has taken the supervisor over.

Such a one runs anything with the uid of the supervisor: outside of its sandbox (`Attacked.run`),
which is more than it ever gets, or in its place, with all that its unit gives it
(`Attacked.take_over`).
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from campaign import IS_FULL
from installed import INSTALL
from machine import Machine

SUITES = ("bookworm", "trixie") if IS_FULL else (os.environ.get("LUNASCHED_SUITE", "bookworm"),)
"""The releases of Debian that are attacked."""
USER = "lunasched"
HISTORY = "/var/lib/lunasched/history"
SUPERVISOR = "/run/lunasched/supervisor"
"""The directories that the supervisor may write."""

MANAGER = (
    "busctl --no-pager --allow-interactive-authorization=no call org.freedesktop.systemd1 "
    "/org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
)
DROP_IN = "/run/systemd/system/lunasched.service.d/taken-over.conf"

# Job modes of StartUnit() in org.freedesktop.systemd1(5), the newer ones too.
JOB_MODES = (
    "replace", "fail", "isolate", "replace-irreversibly", "ignore-dependencies",
    "ignore-requirements", "flush", "triggering", "restart-dependencies", "lenient",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attacked:
    """A machine that somebody attacks with the supervisor's uid."""

    machine: Machine

    def run(self, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command with the supervisor's uid and groups, outside of its sandbox."""
        return self.machine.exec(command, user=USER, check=False, timeout=timeout)

    def root(self, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root; a failure is an error of the test."""
        return self.machine.exec(command, timeout=timeout)

    @contextmanager
    def take_over(self, program: str) -> Iterator[None]:
        """Run a Python program in place of the supervisor, with the sandbox of its unit.

        It has told systemd that it is ready by the time that this yields.
        """
        self.machine.write_file("/opt/evil/supervisor.py", program)
        self.machine.write_file(
            DROP_IN, "[Service]\nExecStart=\nExecStart=/usr/bin/python3 /opt/evil/supervisor.py\n"
        )
        self.root("systemctl daemon-reload; systemctl restart lunasched.service")
        try:
            yield
        finally:
            self.root(
                f"rm -f {DROP_IN}; systemctl daemon-reload; systemctl restart lunasched.service"
            )


@contextmanager
def attacked(name: str, suite: str) -> Iterator[Attacked]:
    """Boot a machine of the suite with lunasched installed."""
    with Machine.boot(name, suite=suite) as machine:
        machine.run(INSTALL)
        yield Attacked(machine)


def add(machine: Machine, name: str, *options: str, command: str = "true") -> None:
    """Add a job that is started by nobody but the test."""
    machine.run(
        [
            "lunasched",
            "add",
            "--name",
            name,
            "--schedule",
            "@yearly",
            *options,
            "--command",
            command,
        ]
    )


def quoted(*words: str) -> str:
    """Return a shell command line of the words."""
    return shlex.join(words)
