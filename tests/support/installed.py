"""lunasched installed on a machine as a package would have it, and its commands."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
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


def is_over(unit: str) -> str:
    """The condition that nothing of a unit goes on.

    `systemctl is-active` says no of a start that is not complete, too, as of a whole run of a
    oneshot unit.
    """
    return f"systemctl show -P ActiveState {unit} | grep -qx inactive"


def slots_each(period: int) -> str:
    """The schedule with a slot each so many seconds of a minute: what `Lunasched.period` gives."""
    # systemd takes no step that leaves one value.
    return f"calendar:*:*:0/{period}" if period < 60 else "calendar:*:*:0"


SYNCED = is_over("lunasched-sync.service")
"""The condition that no sync is carried out."""


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
        # By job, and of all: the state of the history's files, when it was read, and the text.
        self._said: dict[str | None, tuple[str, float, str]] = {}

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 60) -> Any:
        """Run ``lunasched ARGUMENTS``; root's not as a unit, a sixth more of its work.

        A user's belongs to their session, and so to their service manager.
        """
        run = self.machine.run if self.user else self.machine.exec
        return run(["lunasched", *arguments], user=self.user, check=check, timeout=timeout)

    def pace(self) -> float:
        """The seconds that a command takes: half a second, or many on a busy machine."""
        began = time.monotonic()
        self("list")
        return time.monotonic() - began

    def soon(self, seconds: float) -> datetime:
        """A whole second of the machine's clock, at least so far ahead; more on a busy machine.

        So that there is time to add a job for it.
        """
        ahead = seconds + 10 * self.pace()
        now = float(self.machine.exec("date +%s.%N").stdout)
        return datetime.fromtimestamp(int(now + ahead) + 1, tz=timezone.utc)

    def period(self, seconds: int, commands: float = 3) -> int:
        """So many seconds, or more where as many commands take longer: they divide a minute."""
        wanted = max(seconds, commands * self.pace())
        return next((each for each in _PERIODS if each >= wanted), 60)

    def json(self, *arguments: str) -> Any:
        """What ``lunasched ARGUMENTS --json`` prints."""
        return json.loads(self(*arguments, "--json").stdout)

    def history(self, name: str | None = None) -> list[dict[str, Any]]:
        """All runs, newest first.

        The command is not run where it would only say once more what it said a moment ago: the
        files of the history are as they were.
        """
        file = self._history_file
        written, now = self.machine.written(file, f"{file}-wal"), time.monotonic()
        before, looked, said = self._said.get(name, ("", 0.0, ""))
        if written != before or now > looked + _LOOK_S:
            said = self("history", *([name] if name else []), "--all", "--json").stdout
            self._said[name] = written, now, said
        return json.loads(said)  # type: ignore[no-any-return]

    def wait_for_runs(self, name: str, count: int, timeout: float = 30) -> list[dict[str, Any]]:
        """Wait until so many runs of a job have ended and their output is on record."""
        runs: list[dict[str, Any]] = []

        def complete() -> bool:
            if self._complete(name) < count:
                return False
            runs[:] = [
                run
                for run in self.history(name)
                if run["result"] is not None and run["output"] is not None
            ]
            return len(runs) >= count

        self.machine.wait_for(complete, timeout, what=f"{count} recorded runs of {name}")
        return runs

    @property
    def _state(self) -> str:
        home = f"/home/{self.user}/.local/state" if self.user else "/var/lib"
        return f"{home}/lunasched"

    @property
    def _history_file(self) -> str:
        return f"{self._state}/history/history.db"

    def _complete(self, name: str) -> float:
        """The number of a job's runs that are over with their output on record; perhaps there are.

        It costs a tenth of the command's time, most of which tests on a machine once waited with.
        """
        user = self.user or "lunasched"
        over = "result IS NOT NULL AND output IS NOT NULL"
        quoted = name.replace("'", "''")
        query = f"SELECT count(*) FROM runs WHERE job = '{quoted}' AND {over}"
        file = f"file:{self._history_file}?mode=ro"
        asked = ["sqlite3", "-cmd", ".timeout 5000", file, query]
        found = self.machine.exec(asked, user=user, check=False).stdout.strip()
        return int(found) if found.isdigit() else math.inf

    def apply(self, *jobs: Mapping[str, Any]) -> None:
        """Add jobs, or change them, by one command."""
        self.machine.run(
            ["lunasched", "apply", "-", "--format", "yaml"],
            user=self.user,
            input=json.dumps({"jobs": jobs}),
            timeout=300,
        )

    def reloads(self) -> int:
        """How often systemd has read all units again since it booted."""
        # The journal is behind systemd.
        self.machine.run("journalctl --sync")
        log = self.machine.exec(["journalctl", "-b", "_PID=1", "-o", "cat"]).stdout
        return sum(line == "Reloading." for line in log.splitlines())

    def remove_all(self) -> None:
        """Remove all jobs; the command is not run where there are none."""
        if not self._is_empty():
            self("apply", "/dev/null", "--format", "yaml", "--prune", "--allow-empty", timeout=300)

    def _is_empty(self) -> bool:
        """Whether there are certainly no jobs, and no units of any."""
        units = f"/home/{self.user}/.config/systemd/user" if self.user else "/etc/systemd/system"
        script = (
            f"! ls -d {units}/lunasched-job@*.* &&"
            f" sqlite3 'file:{self._state}/jobs.db?mode=ro' 'SELECT count(*) FROM jobs'"
        )
        return self.machine.exec(script, user=self.user, check=False).stdout == "0\n"
