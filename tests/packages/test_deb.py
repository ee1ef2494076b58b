"""The Debian package in the life of a machine: installed, upgraded, removed, purged."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import legacy
import pytest
from installed import Lunasched, is_over, slots_each
from packaged import OLDER, TREE, Built, commands, guide_part

from lunasched import __version__

if TYPE_CHECKING:
    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

PAGES = sorted(TREE.glob("man/*.[1-9]"), key=lambda page: (page.suffix, page.name))
UNITS = "/etc/systemd/system"
DIRECTORIES = "/var/lib/lunasched /var/lib/lunasched/slots /var/lib/lunasched/history"
"""Those that are there before the first job."""
TEMPLATE = "/usr/lib/python3/dist-packages/lunasched/unit-templates/job.service.j2"
DATABASE = "/var/lib/lunasched/jobs.db"
HISTORY = "/var/lib/lunasched/history/history.db"
NEEDS_RELOAD = "systemctl show -P NeedDaemonReload 'lunasched*' | grep -qx yes"
RESTART_USER_MANAGER = "systemctl restart user@1000.service"

SCRAPE = """
from urllib.request import urlopen
print(urlopen("http://127.0.0.1:8080/metrics").read().decode())
"""

MAIL = "/var/tmp/mail"
MAIL_SERVER = [
    *("python3", "-m", "aiosmtpd", "--nosetuid", "--listen", "localhost:25"),
    *("--class", "aiosmtpd.handlers.Mailbox", MAIL),
]
LISTENS = "import socket; socket.create_connection(('localhost', 25))"

# What differs from hour to hour on any machine: caches, logs, lists, backups of /etc/passwd, and
# what belongs to users.
PASSING = re.compile(
    r"/(?:var/(?:cache|log|tmp|lib/(?:apt|dpkg|systemd))|tmp|run|root|home|proc|sys|dev|srv)(?:/|\Z)"
    r"|/etc/(?:\.pwd\.lock|ld\.so\.cache|(?:passwd|group|shadow|gshadow)-)( |\Z)|.*/__pycache__"
)


@pytest.fixture
def debian(clean: Machine) -> Iterator[Machine]:
    """The machine without anything of lunasched, before a test and after it."""
    assert traces(clean) == []
    yield clean
    sh(clean, "apt-get purge lunasched; rm -rf /home/luna/.local /home/luna/.config")
    assert traces(clean) == []


def sh(machine: Machine, command: str, **options: Any) -> str:
    """What a command prints, run as root beside the directory ``dist``."""
    environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    line = f"cd /srv/built && {command}"
    return machine.run(line, env=environment, timeout=300, **options).stdout


def install(machine: Machine, directory: str) -> None:
    sh(machine, f"apt-get install --no-install-recommends ./{directory}/lunasched_*_all.deb")


def lunasched(machine: Machine, *arguments: str) -> str:
    return machine.run(["lunasched", *arguments]).stdout


def listed(machine: Machine) -> list[dict[str, Any]]:
    return json.loads(lunasched(machine, "list", "--json"))  # type: ignore[no-any-return]


def history(machine: Machine, name: str) -> list[dict[str, Any]]:
    """All runs of a job, newest first."""
    return json.loads(lunasched(machine, "history", name, "--all", "--json"))  # type: ignore[no-any-return]


def wait_for_end(machine: Machine, name: str, result: str) -> None:
    """Wait until a job's newest run is on record with this result, and its output."""
    machine.wait_for(
        lambda: (
            [run["result"] for run in history(machine, name)[:1] if run["output"] is not None]
            == [result]
        ),
        what=f"a run of {name} that ended with {result}",
        interval=0.2,
    )


def traces(machine: Machine) -> list[str]:
    """Everything of lunasched on the machine, by name."""
    found = "find / -xdev -path /srv -prune -o -path /var/log -prune -o -name '*lunasched*' -print"
    users = "getent passwd lunasched; getent group lunasched"
    return machine.exec(f"{found}; {users}; true").stdout.split()


def files(machine: Machine) -> dict[str, str]:
    """Every file that does not change by itself: mode, owner, target, below /etc the content."""
    script = (
        r"find / -xdev -printf '%p\t%M %u:%g %l\n';"
        r"find /etc -type f -exec md5sum {} + | sed 's/^\([^ ]*\)  \(.*\)/\2 content\t\1/'"
    )
    found = (line.partition("\t") for line in machine.exec(script).stdout.splitlines())
    return {path: facts for path, _, facts in found if not PASSING.match(path)}


def active(machine: Machine, pattern: str) -> list[str]:
    """The units of a pattern that are active."""
    command = f"systemctl list-units --plain --no-legend --state=active,activating '{pattern}'"
    return [line.split()[0] for line in machine.exec(command).stdout.splitlines()]


# The package


def test_lintian_finds_nothing(built: Built) -> None:
    assert built.lintian == ""


def test_has_the_version_of_the_tree(built: Built) -> None:
    (package,) = Path(built.directory, "dist").glob("lunasched_*.deb")
    assert package.name == f"lunasched_{__version__}_all.deb"


def test_pydbus_is_recommended(built: Built) -> None:
    """`install` leaves it out: every other test here is one without it."""
    (package,) = Path(built.directory, "dist").glob("lunasched_*.deb")
    fields = ("Depends", "Recommends")
    depends, recommends = (
        subprocess.run(
            ["dpkg-deb", "--field", package, field], capture_output=True, text=True, check=True
        ).stdout
        for field in fields
    )
    assert "python3-typer" in depends and "pydbus" not in depends
    assert "python3-pydbus" in recommends


def test_installed_files(debian: Machine) -> None:
    """The supervisor runs; its configuration is for it alone, and says nothing yet."""
    install(debian, "dist")
    assert active(debian, "lunasched.service") == ["lunasched.service"]
    of_ours = " ".join(f"/etc/lunasched/{name}" for name in (".", "config.yaml", "jobs.d"))
    modes = f"stat -c '%a %U:%G' {of_ours} /etc/lunasched/calendars.d"
    assert debian.exec(f"{modes} {DIRECTORIES}").stdout.splitlines() == [
        "750 root:lunasched",
        "640 root:lunasched",
        "750 root:root",
        "755 root:root",
        "755 root:root",
        "755 root:root",
        "700 lunasched:lunasched",
    ]
    configuration = debian.read_file("/etc/lunasched/config.yaml")
    assert "#  history_days:" in configuration
    assert all(line.startswith("#") for line in configuration.splitlines() if line)
    uncommented = re.sub(r"^#(?=[a-z ]*[a-z_]+:)", "", configuration, flags=re.M)
    assert re.findall(r"^ *\w+:.*", uncommented, re.M) == re.findall(
        r"^ *\w+:.*", (TREE / "packaging/examples/config.yaml").read_text(), re.M
    )
    pages = debian.exec("cd /usr/share/man && ls */lunasched*").stdout.split()
    assert pages == [f"man{page.suffix[1:]}/{page.name}.gz" for page in PAGES]
    for name in ("README.md", "guide.md.gz", "NEWS.md.gz", "copyright", "examples/jobs.yaml"):
        assert debian.exec(f"test -s /usr/share/doc/lunasched/{name}").returncode == 0
    assert debian.exec("systemctl is-system-running").stdout == "running\n"

    # What the scripts of the package are to do may be done already.
    debian.exec("cp /var/lib/dpkg/info/lunasched.p* /usr/libexec/lunasched/maintain /var/tmp/")
    for _ in range(2):
        debian.exec("/var/tmp/lunasched.postinst configure ''")
    for _ in range(2):
        debian.exec("/var/tmp/maintain removing")
    sh(debian, "apt-get purge lunasched")
    debian.exec("/var/tmp/lunasched.postrm purge; rm /var/tmp/lunasched.p* /var/tmp/maintain")


def test_quick_start(debian: Machine) -> None:
    """The guide's own commands, word for word; after the last of them nothing is left."""
    install_block = commands(guide_part("Installation"))[0]
    sh(debian, install_block[-1])
    check_user_mode(debian)
    sh(debian, "apt-get install --no-install-recommends python3-aiosmtpd")
    debian.exec(["systemd-run", "--quiet", "--unit=mail-server", *MAIL_SERVER])
    debian.wait_for(["python3", "-c", LISTENS], what="the mail server")
    *blocks, removal = commands(guide_part("Quick start").partition("A schedule is")[0])
    shown = {}
    for line in [line for block in blocks for line in block]:
        if line.startswith("lunasched history"):
            wait_for_end(debian, line.split()[-1], "success")
        if line.startswith("lunasched notifications"):
            debian.wait_for(f"grep -rq 'no space left' {MAIL}/new", what="the message")
        shown[line] = sh(debian, line)
    assert re.search(r"lunasched-job@backup\.timer +lunasched-job@backup\.service", str(shown))
    assert "done at" in shown["lunasched start backup --wait"]
    assert "done at" in shown["journalctl -u lunasched-job@backup"]
    assert re.search(r"backup +manual .* success +done at", shown["lunasched history backup"])
    counted = 'lunasched_job_executions_total{job_id="backup"} 1'
    assert counted in shown["lunasched metrics"]
    assert debian.exec(["python3", "-c", SCRAPE], check=False).returncode
    debian.exec("echo 'web: {enabled: true}' >>/etc/lunasched/config.yaml")
    debian.exec("systemctl restart lunasched")
    assert counted in debian.exec(["python3", "-c", SCRAPE]).stdout
    attempts = shown["lunasched history flaky"].splitlines()[1:]
    assert re.search(r"retry .* 2 +success", attempts[0])
    assert re.search(r"manual .* 1 +exit-code \(3\)", attempts[1])
    assert "root@localhost" in shown["lunasched notifications broken"]
    message = debian.exec(f"cat {MAIL}/new/*").stdout
    assert re.search(r"^Subject: .*broken", message, re.M)
    debian.exec(f"systemctl stop mail-server; rm -r {MAIL}")
    remove, purge = removal
    sh(debian, remove)
    assert active(debian, "lunasched*") == []
    assert debian.exec(["test", "-s", DATABASE]).returncode == 0
    sh(debian, purge)
    assert traces(debian) == []


def check_user_mode(machine: Machine) -> None:
    """Jobs of one's own work, in a session that begins after the installation."""
    sh(machine, RESTART_USER_MANAGER)
    machine.wait_for("test -S /run/user/1000/bus", what="the user's bus")
    add = ["lunasched", "add", "--name", "own", "--schedule", "@daily", "--command", "true"]
    machine.exec(add, user="luna")
    machine.exec(["lunasched", "start", "own", "--wait"], user="luna")
    machine.exec(["lunasched", "remove", "own"], user="luna")
    sh(machine, f"rm -rf /home/luna/.local /home/luna/.config; {RESTART_USER_MANAGER}")


# Upgrade

# What 2.0.0 had: one database of the first schema, the supervisor's and in a directory of the
# supervisor's, and that of guards beside it.
TO_2_0 = r"""
set -e
cd /var/lib
mkdir -m 700 before
schema=/usr/lib/python3/dist-packages/lunasched/store/schema/history
sqlite3 before/lunasched.db <"$(ls $schema/0001_*.sql)"
sqlite3 before/lunasched.db "
    PRAGMA user_version = 1;
    PRAGMA application_id = $(sqlite3 lunasched/history/history.db 'PRAGMA application_id');"
for table in jobs runs journal_position; do
    [ $table = jobs ] && from=jobs.db || from=history/history.db
    columns=$(sqlite3 before/lunasched.db \
        "SELECT group_concat(json_quote(name)) FROM pragma_table_info('$table')")
    sqlite3 before/lunasched.db "ATTACH 'lunasched/$from' AS now;
        INSERT INTO main.$table ($columns) SELECT $columns FROM now.$table;"
done
# As a supervisor that was taken over would have it.
sqlite3 before/lunasched.db "INSERT INTO jobs SELECT 'forged',
    replace(replace(definition, '\"long\"', '\"forged\"'), 'exit 7', 'touch /owned'), 1, 1
    FROM jobs WHERE name = 'long'"
chown -R lunasched: before
chmod 640 before/lunasched.db
mv lunasched/slots lunasched-slots
rm -r lunasched
mv before lunasched
"""


def test_upgrade_while_jobs_run(debian: Machine) -> None:
    install(debian, "older")
    assert lunasched(debian, "--version") == f"lunasched {OLDER}\n"
    # The older version wrote units that are not what this one writes.
    debian.exec(f"sed -i 's/^CollectMode=/# As it was then.\\n&/' {TEMPLATE}")
    debian.exec("echo '# Mine.' >>/etc/lunasched/config.yaml")
    # For whoever has jobs of their own; nothing that apt takes along by itself here.
    sh(debian, f"apt-get install dbus-user-session; {RESTART_USER_MANAGER}")
    debian.wait_for("test -S /run/user/1000/bus", what="the user's bus")
    debian.exec("systemctl --user start lunasched", user="luna")
    # Each timer is without its unit for less than that when the units are replaced.
    period = Lunasched(debian).period(4, 5)
    slots = ("add", "--name", "slots", "--schedule", slots_each(period))
    lunasched(debian, *slots, "--command", "date +%s >>/var/tmp/slots")
    waits = "while [ ! -e /run/go ]; do sleep 0.1; done; exit 7"
    lunasched(debian, "add", "--name", "long", "--schedule", "@yearly", "--command", waits)
    lunasched(debian, "start", "long")
    assert "# As it was then." in debian.read_file(f"{UNITS}/lunasched-job@long.service")
    # Without the supervisor, so that it is for the new one to record what happens from here on.
    debian.exec("systemctl stop lunasched")
    debian.exec(TO_2_0)
    invocation = "systemctl show -P InvocationID lunasched-job@long.service"
    before = debian.exec(invocation).stdout
    own = debian.exec("systemctl --user show -P MainPID lunasched", user="luna").stdout
    debian.wait_for("test $(wc -l </var/tmp/slots) -ge 2", what="two slots before the upgrade")

    install(debian, "dist")

    assert lunasched(debian, "--version") == f"lunasched {__version__}\n"
    assert active(debian, "lunasched.service") == ["lunasched.service"]
    for kind, database in (("definitions", DATABASE), ("history", HISTORY)):
        version = debian.exec(["sqlite3", database, "PRAGMA user_version"]).stdout
        assert int(version) == len(list((TREE / "lunasched/store/schema" / kind).glob("*.sql")))
    # What root had not asked for is for root to look at, and no job.
    left = debian.read_file("/var/lib/lunasched/not-taken-over.yaml")
    assert "name: forged" in left
    assert "touch /owned" in left
    assert "slots" not in left
    assert lunasched(debian, "list", "--names").split() == ["long", "slots"]
    assert not debian.exec("ls /owned /var/lib/lunasched-slots", check=False).stdout
    assert "# As it was then." not in debian.read_file(f"{UNITS}/lunasched-job@long.service")
    assert debian.exec(NEEDS_RELOAD, check=False).returncode == 1
    assert debian.exec(invocation).stdout == before
    restarted = debian.exec("systemctl --user show -P MainPID lunasched", user="luna").stdout
    assert restarted not in (own, "0\n")
    assert debian.read_file("/etc/lunasched/config.yaml").endswith("# Mine.\n")
    modes = debian.exec("stat -c '%a %U:%G' /etc/lunasched/config.yaml").stdout
    assert modes == "640 root:lunasched\n"

    debian.exec("touch /run/go")
    wait_for_end(debian, "long", "exit-code")
    (long,) = history(debian, "long")
    assert long["exit_code"] == 7
    assert long["execution_id"].replace("-", "") == before.strip()

    seen = len(debian.read_file("/var/tmp/slots").split())
    debian.wait_for(f"test $(wc -l </var/tmp/slots) -ge {seen + 2}", what="slots after the upgrade")
    lunasched(debian, "disable", "slots")
    debian.wait_for(is_over("lunasched-job@slots.service"), what="its last run")
    ran = debian.read_file("/var/tmp/slots").split()
    debian.wait_for(
        lambda: len([run for run in history(debian, "slots") if run["result"]]) == len(ran),
        what="all slots on record",
        interval=0.2,
    )
    scheduled = sorted(
        datetime.fromisoformat(run["scheduled_at"]) for run in history(debian, "slots")
    )
    assert {later - earlier for earlier, later in pairwise(scheduled)} == {
        timedelta(seconds=period)
    }
    debian.exec("rm /var/tmp/slots /run/go")


def test_user_mode_without_a_bus(debian: Machine) -> None:
    """What is missing has a name, and what the doctor prints brings it."""
    sh(debian, f"apt-get purge dbus-user-session; {RESTART_USER_MANAGER}")
    install(debian, "dist")
    add = ["lunasched", "add", "--name", "own", "--schedule", "@daily", "--command", "true"]
    refused = debian.exec(add, user="luna", check=False)
    assert refused.returncode == 5
    assert "the package dbus-user-session brings it" in refused.stderr
    assert "linger" not in refused.stderr
    said = debian.exec(["lunasched", "doctor", "--json"], user="luna", check=False).stdout
    (found,) = [one for one in json.loads(said)["findings"] if one["check"] == "systemd"]
    assert found["what"] == "your own systemd manager runs and has no D-Bus"
    for command in found["fix"]:
        sh(debian, command)
    debian.wait_for("test -S /run/user/1000/bus", what="the bus")
    debian.exec(add, user="luna")
    debian.exec(["lunasched", "remove", "own"], user="luna")


OLD_DAEMON = """
[Service]
ExecStart=/usr/local/bin/lunasched-daemon
User=lunasched
TimeoutStopSec=1
[Install]
WantedBy=multi-user.target
"""


def test_upgrade_from_lunasched_1(debian: Machine, tmp_path: Path) -> None:
    """The guide's own commands, on a machine with what 1.x had."""
    hourly = {"name": "hourly", "schedule_type": "every", "schedule_value": "3600"}
    history = [("hourly", "2025-03-01 10:00:00", "failed", "Stdout:\nlong ago\n")]
    legacy.make(tmp_path / "lunasched.db", jobs=[hourly], history=history)
    debian.copy(tmp_path / "lunasched.db", "/var/lib/lunasched/lunasched.db")
    debian.exec("useradd --system --user-group lunasched; chown -R lunasched: /var/lib/lunasched")
    debian.write_file("/etc/lunasched/config.yaml", "global: {max_concurrent_jobs: 3}\n")
    debian.write_file(f"{UNITS}/lunasched.service", OLD_DAEMON)
    for name in ("lunasched", "lunasched-daemon"):
        debian.write_file(f"/usr/local/bin/{name}", "#!/bin/sh\nexec sleep infinity\n", mode=0o755)
    debian.exec("systemctl daemon-reload; systemctl enable --now lunasched")

    # An empty line is the answer that dpkg suggests: to keep the configuration.
    shown = [sh(debian, line, input="\n") for line in commands(guide_part("Installation"))[3]]

    assert re.search(r"hourly +every 1h +yes +2025-03-01 .* exit-code", shown[-1])
    assert active(debian, "lunasched-job@*.timer") == ["lunasched-job@hourly.timer"]
    fragment = debian.exec("systemctl show -P FragmentPath lunasched").stdout
    assert fragment.endswith("/lib/systemd/system/lunasched.service\n")
    assert active(debian, "lunasched.service") == ["lunasched.service"]
    assert debian.read_file("/etc/lunasched/config.yaml") == "global: {max_concurrent_jobs: 3}\n"
    modes = debian.exec("stat -c '%a %U:%G' /etc/lunasched /etc/lunasched/config.yaml").stdout
    assert modes == "750 root:lunasched\n640 root:lunasched\n"


# Removal


def test_removed_jobs_stop_and_come_back(debian: Machine) -> None:
    """What is not lunasched's stays, and after a purge there is nothing else than before."""
    if debian.exec("dpkg --status python3-typer", check=False).returncode != 0:
        install(debian, "dist")
        sh(debian, "apt-get purge lunasched")
    before = files(debian)
    install(debian, "dist")
    every = ("--schedule", "every 1h")
    endless = ("--", "sleep", "infinity")
    lunasched(debian, "add", "--name", "with space", *every, "--catch-up", "--command", "true")
    lunasched(debian, "add", "--name", "single", *every, "--execution-mode", "Exclusive", *endless)
    lunasched(debian, "add", "--name", "many", *every, "--execution-mode", "Parallel", *endless)
    lunasched(debian, "add", "--name", "off", *every, "--disabled", "--command", "true")
    lunasched(debian, "add", "--name", "feed", *every, "--command", "true")
    lunasched(debian, "eject", "feed", "--as", "feed-cron")
    hand_written = f"{UNITS}/lunasched-job@mine.service"
    debian.write_file(hand_written, "[Service]\nExecStart=/usr/bin/true\n")
    lunasched(debian, "start", "many")
    lunasched(debian, "start", "many")
    assert len(active(debian, "lunasched-job@many:*.service")) == 2
    jobs = listed(debian)
    timers = active(debian, "lunasched-job@*.timer")
    assert len(timers) == 3

    sh(debian, "apt-get remove lunasched")
    assert active(debian, "lunasched*") == []
    assert debian.exec("pgrep -x sleep", check=False).stdout == ""
    assert debian.exec(f"ls {UNITS}/lunasched*@*").stdout.split() == [hand_written]
    assert debian.exec("ls /run/systemd/system/lunasched-job@*:*", check=False).stdout == ""
    assert active(debian, "feed-cron.timer") == ["feed-cron.timer"]
    assert debian.exec(NEEDS_RELOAD, check=False).returncode == 1
    debian.exec("systemctl daemon-reload")  # changes nothing
    assert active(debian, "lunasched*") == []

    install(debian, "dist")
    definitions = [{**job, "next_elapse": 0, "last_run": None} for job in jobs]
    assert [{**job, "next_elapse": 0, "last_run": None} for job in listed(debian)] == definitions
    assert active(debian, "lunasched-job@*.timer") == timers
    wait_for_end(debian, "many", "stopped")

    sh(debian, "apt-get purge lunasched")
    after = files(debian)
    left = {path.removesuffix(" content") for path in after.keys() - before.keys()}
    ejected = {f"{UNITS}/feed-cron.{suffix}" for suffix in ("service", "timer")}
    wants = f"{UNITS}/timers.target.wants/feed-cron.timer"
    assert left == {*ejected, wants, hand_written}
    assert {path: after[path] for path in before} == before
    assert active(debian, "feed-cron.timer") == ["feed-cron.timer"]
    debian.exec(f"systemctl disable --now feed-cron.timer; rm {hand_written} {' '.join(ejected)}")
