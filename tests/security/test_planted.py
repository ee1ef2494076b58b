"""What the supervisor writes is not run by root: not by the sync, an upgrade, a start, or doctor.

It leaves jobs wherever it can write, as each version of lunasched has kept them; then root does all
that root does anyway. A file in /tmp that uid 0 owns would be the success of the attack.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import legacy
import pytest
from attackers import HISTORY, SUITES, SUPERVISOR, Attacked, add, attacked
from installed import SYNCED

pytestmark = [pytest.mark.machine, pytest.mark.slow]

EVIL = "id >/tmp/owned-by-$(id -u)"
NAMES = ("lunasched.db", "history.db", "jobs.db")
DEFINITION = json.dumps({"name": "evil", "schedule": "* * * * *", "command": EVIL})
# A database of 2.0.0, and the jobs of whatever has a table of that name.
PLANT = f"""
CREATE TABLE IF NOT EXISTS jobs(
    name TEXT PRIMARY KEY, definition TEXT, created_at INTEGER, updated_at INTEGER
);
INSERT OR REPLACE INTO jobs(name, definition, created_at, updated_at)
VALUES ('evil', '{DEFINITION}', 1, 1), ('told', '{DEFINITION.replace("evil", "told")}', 1, 1);
PRAGMA user_version = 6;
"""
ASK = """
import socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/lunasched-start.socket")
    connection.sendall(b"start lunasched-sync.service\\n")
    print(connection.recv(4096).decode())
"""


@pytest.fixture(params=SUITES)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Attacked]:
    """A machine with a job of root's that has run, and a database of 1.x with others."""
    with attacked("planted", request.param) as found:
        add(found.machine, "told", command="echo from root >/tmp/told")
        found.machine.run(["lunasched", "start", "told", "--wait"])
        database = tmp_path / "evil-1x.db"
        legacy.make(database, jobs=[{"name": "evil", "command": EVIL, "schedule_value": "1"}])
        found.machine.copy(database, "/srv/evil-1x.db")
        found.root("chmod 644 /srv/evil-1x.db")
        yield found


def plant_current(system: Attacked) -> None:
    """Change every database there is, and add others."""
    for name in NAMES:
        system.run(f"sqlite3 {HISTORY}/{name} {shlex.quote(PLANT)}")
    planted = system.run(f"ls {HISTORY}").stdout.split()
    assert set(NAMES) <= set(planted)


def plant_old(system: Attacked) -> None:
    """Put databases of 1.x in place of what there is."""
    for name in NAMES:
        assert (
            system.run(f"rm -f {HISTORY}/{name}*; cp /srv/evil-1x.db {HISTORY}/{name}").returncode
            == 0
        )
    for elsewhere in ("/var/lib/lunasched", "/run/lunasched", "/nonexistent", "/etc/lunasched"):
        assert system.run(f"cp /srv/evil-1x.db {elsewhere}/lunasched.db").returncode != 0


def plant_files(system: Attacked) -> None:
    """Leave environments, facts and programs where root or a job may pick them up."""
    facts = f"BASH_ENV={SUPERVISOR}/evil\nLUNASCHED_DB_PATH={HISTORY}/jobs.db\nPATH={SUPERVISOR}\n"
    system.run(
        f"cd {SUPERVISOR}; printf '{EVIL}\n' >evil; chmod 755 evil; "
        "for name in lunasched systemctl busctl sqlite3 python3 sh; do cp evil $name; done; "
        "mkdir -p hooks starts passes; "
        f"printf '%s' {shlex.quote(facts)} >hooks/told:on_success; "
        "printf '9999999999999999' >starts/told; touch gate; rm -f gate"
    )


def everything_that_root_does(system: Attacked) -> None:
    machine = system.machine
    machine.exec(["python3", "-c", ASK], user="lunasched", check=False)
    machine.wait_for(SYNCED, 60)
    for command in (
        "systemctl start lunasched-sync.service",
        "lunasched list; lunasched history --all; lunasched export-config >/tmp/exported",
        "/opt/lunasched/packaging/maintain installed",
        "timeout 60 systemctl restart lunasched.service",
        "lunasched start told --env A=b",
        "lunasched sync",
        "lunasched add --name another --replace --schedule @yearly --command true",
        "lunasched apply /dev/null --format yaml --allow-empty",
    ):
        machine.run(command, check=False, timeout=120)
    said = machine.run(["lunasched", "doctor", "--json"], check=False, timeout=120).stdout
    for finding in json.loads(said)["findings"]:
        for command in finding["fix"]:
            machine.run(command, check=False, timeout=120)
    # Whatever was deployed is started, whenever it would have been due.
    machine.run(
        "for unit in /etc/systemd/system/lunasched-*.service "
        "/run/systemd/system/lunasched-*.service; "
        "do systemctl start --no-block $(basename $unit); done; true",
        check=False,
    )
    machine.wait_for("test -z \"$(systemctl list-jobs --no-legend 'lunasched-*')\"", 60)


@pytest.mark.parametrize("how", [plant_current, plant_old, plant_files])
def test_root_runs_nothing_of_what_was_planted(system: Attacked, how: object) -> None:
    assert callable(how)
    plant_files(system)
    how(system)
    everything_that_root_does(system)
    assert system.root("ls /tmp/owned-by-* 2>/dev/null; true").stdout == ""
    found = system.root(
        "grep -rl owned-by /etc/systemd /run/systemd/system /var/lib/lunasched/jobs.db; true"
    ).stdout
    assert found == ""
    assert "from root" in system.machine.read_file("/etc/systemd/system/lunasched-job@told.service")
    # Root's own jobs are what they were.
    # The history is refused, and jobs do not depend on it.
    names = system.root("lunasched list --names").stdout.split()
    assert sorted(names) == ["another", "told"]
