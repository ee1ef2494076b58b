"""The command line as a user has it, with a home and a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lunasched.errors import ExitCode
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import Job
from lunasched.store import Store

COMMAND = Path(sys.executable).with_name("lunasched")
START = 1_770_724_800_000_000
RUN = "0123456789abcdef" * 2
NO_BUS = "unix:path=/nonexistent"


class Cli:
    """`lunasched` with a home, a database and no bus of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = home / "lunasched.db"
        self.environment = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_RUNTIME_DIR": str(home / "runtime"),
            "LUNASCHED_DB_PATH": str(self.database),
            "DBUS_SYSTEM_BUS_ADDRESS": NO_BUS,
            "DBUS_SESSION_BUS_ADDRESS": NO_BUS,
        }

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(COMMAND), *arguments], **environment)

    def run(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**self.environment, **environment},
            cwd=self.home,
            check=False,
            timeout=60,
        )

    def fails(self, code: ExitCode, *arguments: str, **environment: str) -> str:
        """What a command that fails writes; all of it to standard error, and no traceback."""
        done = self(*arguments, **environment)
        assert done.returncode == code, done
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert done.stderr
        return done.stderr

    def put(self, *jobs: Job) -> None:
        with Store.open(self.database) as store:
            for job in jobs:
                store.jobs.put(job, START)

    def put_run(self, **changes: Any) -> None:
        values: dict[str, Any] = {
            "execution_id": RUN,
            "job": "backup",
            "unit": "lunasched-job@backup.service",
            "trigger": Trigger.TIMER,
            "scheduled_at": START,
            "started_at": START + 20_000,
        }
        run = Run(**{**values, **changes})
        with Store.open(self.database) as store:
            store.runs.begin(run, "b" * 32)
            store.runs.process_ended(run.execution_id, exit_code=3, signal=None)
            store.runs.end(run.execution_id, Result.EXIT_CODE, run.started_at + 1_500_000)
            store.runs.set_output(run.execution_id, "first\nlast line\n")
