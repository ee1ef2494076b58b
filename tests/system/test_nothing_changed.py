"""After a failure, all is as it was where that is said; and it is said of each change of jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from installed import INSTALL, SUITE, Lunasched
from machine import Machine

pytestmark = pytest.mark.machine

SAID = "Nothing was changed."
UNITS = "/etc/systemd/system"
STATE = "/var/lib/lunasched"
FREE = "$(df --output=avail -B1 /var/lib | tail -1)"
# More than there is left; and with some blocks of it, so that it fails later.
FULL = "cat /dev/zero >>/var/lib/fill"
NEARLY_FULL = f"fallocate -l $(({FREE} - 65536)) /var/lib/fill"
READ_ONLY = "mount --bind {0} {0}; mount -o remount,ro,bind {0}"

JOBS = [
    {"name": "on", "schedule": "@yearly", "command": "true"},
    {"name": "off", "schedule": "@yearly", "command": "true", "enabled": False},
    {"name": "below", "schedule": "@yearly", "command": "true"},
    {"name": "above", "dependencies": ["below"], "command": "true"},
]
OTHERS = [
    {"name": "on", "schedule": "@monthly", "command": "true", "env": {"X": "x" * 60_000}},
    {"name": "new", "schedule": "@monthly", "command": "true"},
]
LEGACY = f"""
cd {UNITS}
printf '[Service]\\nExecStart=/bin/true\\n' >legacy.service
printf '[Timer]\\nOnCalendar=yearly\\n[Install]\\nWantedBy=timers.target\\n' >legacy.timer
systemctl daemon-reload; systemctl enable --quiet --now legacy.timer
"""
LARGE = ["--env", "X=" + "x" * 100_000]
CHANGES = [
    ["add", "--name", "new", "--schedule", "@yearly", "--command", "true", *LARGE],
    ["add", "--replace", "--name", "on", "--schedule", "@monthly", "--command", "true", *LARGE],
    ["edit", "on"],
    ["apply", "/tmp/others.json", "--format", "yaml"],
    ["apply", "/tmp/others.json", "--format", "yaml", "--prune"],
    ["import-config", "/tmp/others.json", "--format", "yaml", "--replace"],
    ["import-crontab", "/tmp/crontab", "--user-format"],
    ["enable", "off"],
    ["disable", "on"],
    ["adopt", "legacy.timer"],
    ["eject", "on"],
    ["remove", "above"],
    ["remove", "on"],
]
LEFT_ALONE = ["start on", "stop on", "start --wait on", "list", "get on"]
"""They ask nothing of the disk that they could not do without."""


@pytest.fixture(scope="module")
def luna() -> Iterator[Lunasched]:
    """A machine with a small disk."""
    with Machine.boot("unchanged", suite=SUITE, disk="400M") as machine:
        machine.run(INSTALL)
        machine.write_file("/tmp/jobs.json", json.dumps({"jobs": JOBS}))
        machine.write_file("/tmp/others.json", json.dumps({"jobs": OTHERS}))
        machine.write_file("/tmp/crontab", "5 * * * * /bin/echo a line\n")
        yield Lunasched(machine)


STATE_OF = f"""
sqlite3 'file:{STATE}/jobs.db?immutable=1' 'SELECT * FROM jobs ORDER BY name'
cd {UNITS}; find . -type f | sort | xargs md5sum; find . -type l -printf '%p %l\\n' | sort
cd {STATE}/slots; find . -type f | sort | xargs md5sum
systemctl list-units --all --plain --no-legend '*.timer' | awk '{{print $1,$3,$4}}'
ls -A /tmp /run/systemd/system | grep -Ev '^(systemd-private-|namespace-dev-)'
"""
"""Prints what jobs there are: definitions, units, slots and timers; and what is left in /tmp.

There systemd has directories of its own, some for the moment in which a service starts.
"""


def state(luna: Lunasched) -> str:
    return luna.machine.run(STATE_OF).stdout


@pytest.fixture
def jobs(luna: Lunasched) -> Iterator[Lunasched]:
    """The jobs, and a timer of somebody's own, before anything is in the way."""
    luna("apply", "/tmp/jobs.json", "--format", "yaml", "--prune")
    luna.machine.run(LEGACY)
    yield luna
    luna.machine.run(f"rm -f /var/lib/fill; umount -ql {UNITS} {STATE} || true")
    luna("sync")


@pytest.mark.parametrize(
    ("trouble", "says", "changes"),
    [
        (FULL, "the disk is full", CHANGES),
        # What is small has its place there.
        (NEARLY_FULL, "the disk is full", CHANGES[:2]),
        (READ_ONLY.format(UNITS), f"{UNITS}: the file system is read-only", CHANGES),
        (READ_ONLY.format(STATE), "the file system is read-only", CHANGES[::4]),
    ],
    ids=["full", "nearly-full", "read-only-units", "read-only-state"],
)
def test_what_cannot_be_written_changes_nothing(
    jobs: Lunasched, trouble: str, says: str, changes: list[list[str]]
) -> None:
    jobs.machine.run(trouble, check=False)
    before = state(jobs)
    for command in changes:
        done = jobs.machine.run(
            ["lunasched", *command],
            # Python takes what it could write half of on the full disk for its own code (3.11).
            env={"EDITOR": "sed -i s/yearly/monthly/", "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert says in done.stderr, command
        assert done.stderr.count("othing was changed") == 1, done.stderr
        assert SAID in done.stderr.splitlines()
        assert "Not all of it could be undone" not in done.stderr
        assert state(jobs) == before, command


def test_a_run_that_is_started_is_no_nothing(jobs: Lunasched) -> None:
    """On a full disk and beside a read-only one, a job can be started, and is."""
    for trouble in (FULL, READ_ONLY.format(STATE)):
        jobs.machine.run(trouble, check=False)
        for command in LEFT_ALONE:
            done = jobs.machine.run(f"PYTHONDONTWRITEBYTECODE=1 lunasched {command}", check=False)
            assert "othing was changed" not in done.stderr, command
            assert done.returncode == 0, (command, done.stderr)
        jobs.machine.run("rm -f /var/lib/fill")


@pytest.mark.parametrize("database", ["jobs.db", "history/history.db"])
def test_a_database_that_is_locked(jobs: Lunasched, database: str) -> None:
    """What is said of a change is true, and a job can be started."""
    hold = (
        "import sqlite3, sys\n"
        "held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute('BEGIN EXCLUSIVE')\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    holder = jobs.machine.popen(["python3", "-c", hold, f"{STATE}/{database}"])
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() in ("held", b"held")
        done = jobs("start", "--wait", "on", check=False, timeout=120)
        assert SAID not in done.stderr
        before = state(jobs)
        done = jobs("enable", "off", check=False, timeout=120)
        assert (done.returncode == 0) == (state(jobs) != before), done.stderr
        assert done.returncode == 0 or SAID in done.stderr
    finally:
        # Its standard input ends, and with it the process.
        holder.communicate(timeout=300)


def test_doctor_names_what_cannot_be_written(jobs: Lunasched) -> None:
    for directory in (UNITS, STATE):
        jobs.machine.run(READ_ONLY.format(directory))
        found = json.loads(jobs("doctor", "--json", check=False).stdout)["findings"]
        said = f"the directory {directory} is on a read-only file system"
        (one,) = (each for each in found if each["what"] == said)
        assert (one["check"], one["severity"]) == ("disk", "error")
        for command in one["fix"]:
            jobs.machine.run(command)
        found = json.loads(jobs("doctor", "--json", check=False).stdout)["findings"]
        assert not [each for each in found if each["what"] == said]
        jobs.machine.run(f"umount -l {directory}")
