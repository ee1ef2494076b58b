"""lunasched installed on a machine as a package would have it, and its commands."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timezone
from itertools import count
from typing import Any, cast

from machine import OLDEST, Machine

_NUMBERS = count(1)
_PERIODS = tuple(each for each in range(1, 61) if 60 % each == 0)

SUITE = os.environ.get("LUNASCHED_SUITE", OLDEST)
"""The Debian release of machines that tests boot for themselves, as of the shared one: pytest's
``--suite``."""
_LOOK_S = 2.0
"""A history is looked at so often, in seconds, though nobody wrote it."""
_PATIENCE_S = 300.0
"""What an emulated processor that shares its core may need for what a container does in seconds."""

INSTALL = """
set -e
/opt/lunasched/packaging/install-units
systemd-sysusers
systemd-tmpfiles --create lunasched.conf
systemctl daemon-reload
systemctl enable --quiet --now lunasched.service
"""

REMOVE = """
systemctl disable --now lunasched.service lunasched-sync.path lunasched-sync.timer
systemctl stop lunasched-sync.service
"""

PAGE = """
mkdir -p /etc/lunasched
echo 'web: {enabled: true}' >/etc/lunasched/config.yaml
systemctl restart lunasched
"""


def boot(name: str) -> Machine:
    """Boot a machine of `SUITE`: a container, or with ``--vm`` a virtual machine.

    The latter has a kernel of its own, and so the limits of cgroup v2, whatever the host has.
    """
    if not os.environ.get("LUNASCHED_VM"):
        return Machine.boot(name, suite=SUITE)
    # Imported here: nobody else needs qemu.
    from vm import VirtualMachine

    booted = VirtualMachine.boot(name, suite=SUITE, patience=_PATIENCE_S)
    # It has the methods of a container, but for pipes and mounts of the host.
    return cast(Machine, booted)


class Lunasched:
    """The commands of one machine, system mode unless a user is named."""

    def __init__(self, machine: Machine, user: str | None = None) -> None:
        self.machine = machine
        self.user = user
        # History outlives a job: each test has a name of its own.
        self.name = f"job-{next(_NUMBERS)}"

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 60) -> Any:
        """Run ``lunasched ARGUMENTS``."""
        return self.machine.run(
            ["lunasched", *arguments], user=self.user, check=check, timeout=timeout
        )

    def pace(self) -> float:
        """The seconds that a command takes: half a second, or many on a busy machine."""
        began = time.monotonic()
        self("list")
        return time.monotonic() - began

    def soon(self, seconds: float) -> datetime:
        """A whole second of the machine's clock, at least so far ahead; more on a busy machine.

        So that there is time to add a job for it.
        """
        ahead = seconds + 8 * self.pace()
        now = float(self.machine.exec("date +%s.%N").stdout)
        return datetime.fromtimestamp(int(now + ahead) + 1, tz=timezone.utc)

    def period(self, seconds: int, commands: float = 2) -> int:
        """So many seconds, or more where as many commands take longer: they divide a minute."""
        wanted = max(seconds, commands * self.pace())
        return next((each for each in _PERIODS if each >= wanted), 60)

    def json(self, *arguments: str) -> Any:
        """What ``lunasched ARGUMENTS --json`` prints."""
        return json.loads(self(*arguments, "--json").stdout)

    def history(self, name: str | None = None) -> list[dict[str, Any]]:
        """All runs, newest first."""
        return self.json("history", *([name] if name else []), "--all")  # type: ignore[no-any-return]

    def wait_for_runs(self, name: str, count: int, timeout: float = 30) -> list[dict[str, Any]]:
        """Wait until so many runs of a job have ended and their output is on record."""
        runs: list[dict[str, Any]] = []
        seen, looked = "", 0.0

        def complete() -> bool:
            nonlocal seen, looked
            # A look at the history takes 30 times as long as one at its files.
            written, now = self._history_files(), time.monotonic()
            if written == seen and now < looked + _LOOK_S:
                return False
            seen, looked = written, now
            runs[:] = [
                run
                for run in self.history(name)
                if run["result"] is not None and run["output"] is not None
            ]
            return len(runs) >= count

        self.machine.wait_for(complete, timeout, what=f"{count} recorded runs of {name}")
        return runs

    def _history_files(self) -> str:
        """A text that is another one when the history was written since."""
        directory = "~/.local/state/lunasched" if self.user else "/var/lib/lunasched"
        files = f"{directory}/history/history.db {directory}/history/history.db-wal"
        stat = f"stat -c '%i %s %.Y' {files} 2>/dev/null"
        return str(self.machine.exec(stat, user=self.user, check=False).stdout)

    def reloads(self) -> int:
        """How often systemd has read all units again since it booted."""
        # The journal is behind systemd.
        self.machine.run("journalctl --sync")
        log = self.machine.exec(["journalctl", "-b", "_PID=1", "-o", "cat"]).stdout
        return sum(line == "Reloading." for line in log.splitlines())

    def remove_all(self) -> None:
        """Remove all jobs."""
        self("apply", "/dev/null", "--format", "yaml", "--prune", "--allow-empty", timeout=300)
