"""Root's commands, while the supervisor's directories hold what was left there for them.

Every command ends in time, by an exit status that lunasched(1) lists, and writes nowhere but where
it should; and a trace of its system calls shows that no process with the effective uid 0 touched
anything below what the supervisor can write.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import typer
from anymachine import PATIENCE
from attackers import HISTORY, SUITES, SUPERVISOR, USER, Attacked, add, attacked
from campaign import rounds

from lunasched.cli import app as cli
from lunasched.errors import ExitCode

pytestmark = [pytest.mark.machine, pytest.mark.slow]

LIMIT_S = 60 * PATIENCE
"""Longer than any command's own limit: one that waits for the supervisor's uid never ends."""

# Each command of root's with arguments that take it as far as it gets. What changes jobs comes with
# what undoes it, so that the commands can run in any order.
COMMANDS: dict[str, str] = {
    "add": "lunasched add --name new --replace --schedule @yearly --command true",
    "remove": "lunasched add --name gone --replace --schedule @yearly --command true && "
    "lunasched remove gone",
    "enable": "lunasched enable told",
    "disable": "lunasched disable other",
    "compile": "lunasched compile told",
    "sync": "lunasched sync",
    "migrate": "lunasched migrate",
    "eject": "lunasched add --name out --replace --schedule @yearly --command true && "
    "lunasched eject out; rm -f /etc/systemd/system/out.*",
    "adopt": "lunasched adopt systemd-tmpfiles-clean.timer --dry-run",
    "import-crontab": "lunasched import-crontab /srv/crontab --dry-run",
    "crontabs": "lunasched crontabs && lunasched crontabs --release",
    "adopt-crontab": "(umask 077; echo '1 1 * * * true' >/var/spool/cron/crontabs/root) && "
    "lunasched crontabs && lunasched adopt-crontab crontab.root-true && "
    "lunasched remove crontab.root-true && lunasched crontabs --release; "
    "status=$?; rm /var/spool/cron/crontabs/root; exit $status",
    "serve-usercrontab": "python3 /srv/usercrontab.py",
    "import-config": "lunasched import-config /srv/jobs.yaml",
    "apply": "lunasched apply /srv/jobs.yaml",
    "edit": "EDITOR=true lunasched edit told",
    "schema": "lunasched schema",
    "export-config": "lunasched export-config",
    "start": "lunasched start told --env A=b",
    "stop": "lunasched stop told",
    "list": "lunasched list",
    "get": "lunasched get told",
    "history": "lunasched history --all",
    "logs": "lunasched logs told",
    "graph": "lunasched graph",
    "queue": "lunasched queue",
    "explain": "lunasched explain '30 2 * * *'",
    "next": "lunasched next",
    "spread": "lunasched spread",
    "at": "lunasched at tomorrow\\ 03:00 --name at-told -- true && lunasched remove at-told",
    "run": "lunasched run --name run-told --wait -- true; lunasched remove run-told",
    "remove-over": "lunasched remove-over told",
    "calendar list": "lunasched calendar list",
    "calendar show": "lunasched calendar show told",
    "calendar next": "lunasched calendar next told",
    "vacuum": "lunasched vacuum",
    "metrics": "lunasched metrics",
    "doctor": "lunasched doctor",
    "notifications": "lunasched notifications",
    "notify-test": "lunasched notify-test told",
    "retry cancel": "lunasched retry cancel told",
}
# A request of root's on standard input, as systemd starts the command for it.
USERCRONTAB = """
import json, os, socket, subprocess, sys, tempfile
ours, theirs = socket.socketpair()
ours.sendall(json.dumps({"user": "root", "request": "read", "size": 0}).encode() + b"\\n")
with tempfile.TemporaryDirectory(dir="/run") as directory:
    environment = {**os.environ, "RUNTIME_DIRECTORY": directory}
    command = ["lunasched", "--system", "serve-usercrontab"]
    child = subprocess.Popen(command, stdin=theirs, env=environment)
    theirs.close()
    answer = json.loads(ours.makefile().readline())["answer"]
    ours.close()
    sys.exit(child.wait() or (0 if answer == "none" else 99))
"""
# Run by units as the user of a job, or for a reader; with nothing of root's.
NOT_ROOTS = {"serve-reader"}

LINK = "ln -sfn {target} {name}"
NAMES = (
    "history.db", "history.db-wal", "history.db-shm", "history.db-journal", "lunasched.db",
    "lunasched.db-wal", "lunasched.db-journal", "history.db.supervisor-lock", "jobs.db",
    "lunasched.db.deploy-lock", "lunasched.db.v1-backup", "lunasched.db.1x", "history.db.backup",
)  # fmt: skip
TARGETS = (
    "/etc/nologin", "/etc/ld.so.preload", "/etc/cron.daily", "/etc/cron.daily/dpkg", "/etc/shadow",
    "/etc/systemd/system/evil.service", "/dev/zero", "/proc/self/mem", "/root/.bashrc",
)  # fmt: skip

HOSTILE = {
    "views": """
        CREATE VIEW runs AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
        SELECT i AS execution_id, i AS job FROM n;
        CREATE VIEW starts AS SELECT * FROM runs; CREATE VIEW outbox AS SELECT * FROM runs;
        CREATE VIEW jobs AS SELECT * FROM runs; PRAGMA user_version = 6;
    """,
    "types": """
        CREATE TABLE runs(execution_id, job, unit, result, started_at, ended_at, output);
        INSERT INTO runs VALUES (x'00ff', 1e300, x'80', -1, 'when', x'', zeroblob(200000000));
        CREATE TABLE jobs(name, definition, created_at, updated_at);
        INSERT INTO jobs VALUES ('evil', '{"command": "id >/tmp/evil"}', 1, 1);
        PRAGMA user_version = 6;
    """,
    "generated": """
        CREATE TABLE runs(execution_id, job AS (hex(zeroblob(100000000))), started_at);
        INSERT INTO runs(execution_id) VALUES (1); PRAGMA user_version = 6;
    """,
}


def every_command() -> set[str]:
    """Return the commands of the application, as they are typed."""
    cli.load_commands()
    found: set[str] = set()

    def walk(command: object, words: tuple[str, ...]) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found.add(" ".join(words))
        else:
            for name, one in inner.items():
                walk(one, (*words, name))

    walk(typer.main.get_command(cli.app), ())
    return found


def test_every_command_is_tried() -> None:
    assert every_command() == set(COMMANDS) | NOT_ROOTS


# The directories as they are left


def links(rng: random.Random) -> str:
    """Return shell commands that put links and FIFOs where files are looked for."""
    lines = []
    for name in NAMES:
        target = rng.choice(TARGETS)
        kind = rng.choice((f"ln -sfn {target}", "mkfifo"))
        lines.append(f"rm -rf {HISTORY}/{name}; {kind} {HISTORY}/{name}")
    for name in ("passes", "starts", "hooks"):
        target = rng.choice((*TARGETS, "/etc"))
        lines.append(f"rm -rf {SUPERVISOR}/{name}")
        if rng.random() < 0.5:
            lines.append(f"ln -sfn {target} {SUPERVISOR}/{name}")
        else:
            lines.append(f"mkdir {SUPERVISOR}/{name}; ln -sfn {target} {SUPERVISOR}/{name}/told")
    lines.append(f"ln -sfn {rng.choice(TARGETS)} {SUPERVISOR}/gate")
    return "\n".join(lines)


def fifos(rng: random.Random) -> str:
    """Return shell commands that put FIFOs that nobody writes where files are looked for."""
    return f"mkdir -p {SUPERVISOR}/starts {SUPERVISOR}/hooks\n" + "\n".join(
        f"rm -rf {path}; mkfifo {path}"
        for path in (
            *(f"{HISTORY}/{name}" for name in NAMES),
            *(f"{SUPERVISOR}/{name}" for name in ("gate", "starts/told", "hooks/told")),
        )
    )


def hostile_schema(rng: random.Random) -> str:
    """Return shell commands that put a database there that no lunasched made."""
    schema = HOSTILE[rng.choice(sorted(HOSTILE))]
    return "\n".join(
        f"rm -rf {HISTORY}/{name}*; sqlite3 {HISTORY}/{name} <<'SQL'\n{schema}\nSQL"
        for name in ("history.db", "lunasched.db")
    )


def oversized(rng: random.Random) -> str:
    """Return shell commands that put large and broken files there."""
    return (
        f"rm -rf {HISTORY}/history.db*; truncate -s 1G {HISTORY}/history.db; "
        f"head -c 100000 /dev/urandom >{HISTORY}/history.db-wal; "
        f"head -c 100000 /dev/urandom >{HISTORY}/history.db-journal"
    )


HOLD_LOCKS = """
import fcntl, os, signal, struct, sys
files = []
def hold(path):
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
        except OSError:
            continue
        files.append(descriptor)
        for lock in (fcntl.LOCK_EX, fcntl.LOCK_SH):
            try:
                fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
            except OSError:
                continue
            break
        for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
            try:
                fcntl.fcntl(descriptor, fcntl.F_SETLK, struct.pack("hhqqi", kind, 0, 0, 0, 0))
            except OSError:
                continue
            break
        return
for top in ("/var/lib/lunasched", "/run/lunasched", "/etc/lunasched"):
    for directory, _, names in os.walk(top):
        for name in names:
            hold(os.path.join(directory, name))
        hold(directory)
print(len(files), flush=True)
signal.pause()
"""
SWAP = """
import ctypes, os
libc = ctypes.CDLL(None)
EXCHANGE, HERE = 2, -100
for name in ("/tmp/mine/a", "/var/tmp/b"):
    os.makedirs(os.path.dirname(name), exist_ok=True)
inside = "/var/lib/lunasched/history"
os.makedirs(inside + "/real", exist_ok=True)
if not os.path.islink(inside + "/link"):
    os.symlink("/etc/cron.daily", inside + "/link")
pairs = [("real", "link")]
for one in ("history.db", "history.db-wal", "history.db-shm", "lunasched.db"):
    target = inside + "/" + one + ".link"
    if not os.path.islink(target):
        os.symlink("/etc/cron.daily/" + one, target)
    if not os.path.lexists(inside + "/" + one):
        open(inside + "/" + one, "w").close()
    pairs.append((one, one + ".link"))
while True:
    for a, b in pairs:
        libc.renameat2(HERE, f"{inside}/{a}".encode(), HERE, f"{inside}/{b}".encode(), EXCHANGE)
"""

LEFT = {"links": links, "fifos": fifos, "schemas": hostile_schema, "sizes": oversized}


@pytest.fixture(scope="module", params=SUITES)
def system(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """A machine with jobs, files to import, and a supervisor that is away while it is attacked."""
    with attacked("directory", request.param) as found:
        machine = found.machine
        add(machine, "told", "--on-failure", "true")
        add(machine, "other", "--depends-on", "told")
        machine.write_file("/srv/crontab", "30 2 * * * true\n")
        machine.write_file("/srv/usercrontab.py", USERCRONTAB)
        found.root("mkdir -p /etc/lunasched/calendars.d")
        found.root("groupadd -r crontab; install -d -m 1730 -g crontab /var/spool/cron/crontabs")
        machine.write_file(
            "/srv/jobs.yaml", "jobs: [{name: filed, schedule: '@yearly', command: 'true'}]\n"
        )
        machine.write_file("/etc/lunasched/calendars.d/told.yaml", "[12-25]\n")
        found.root("systemctl stop lunasched.service")
        # Also where the service takes them with it.
        found.root(f"install -d -o {USER} -g {USER} {HISTORY} {SUPERVISOR}")
        yield found


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "system" in request.fixturenames:
        system: Attacked = request.getfixturevalue("system")
        system.root(
            f"pkill -KILL -u {USER} python3; rm -rf {HISTORY}/* {HISTORY}/.[!.]* {SUPERVISOR}/*"
        )


# What euid 0 does there


_CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)$")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)$")
_DIRECTORIES = f"(?:{HISTORY}|{SUPERVISOR})"
# A path that is given, or that strace knows a descriptor by.
_GIVEN = re.compile(f'"{_DIRECTORIES}')
_KNOWN = re.compile(f"<{_DIRECTORIES}")
_CHILD = re.compile(r"= (\d+)\S*$")
# Which argument is the new effective user.
_SETS_UID = {"setuid": 0, "setreuid": 1, "setresuid": 1}
_FORKS = {"clone", "clone3", "fork", "vfork"}
# They tell of what is there and change nothing.
_ONLY_LOOKS = {
    "stat", "lstat", "newfstatat", "statx", "fstat", "access", "faccessat", "faccessat2",
    "readlink", "readlinkat", "statfs", "fstatfs", "close", "chdir",
}  # fmt: skip
# Of them the strings are data, or the arguments of a program.
_DATA = {
    "read", "write", "pread64", "pwrite64", "readv", "writev", "sendto", "recvfrom", "sendmsg",
    "recvmsg", "execve",
}  # fmt: skip


@dataclass(slots=True)
class Trace:
    """What a command did, by the effective user of each of its processes."""

    euids: dict[str, int] = field(default_factory=dict)
    forking: dict[str, int] = field(default_factory=dict)
    """The users of those that are about to have a child, of which nobody knows the number yet."""
    touched: list[str] = field(default_factory=list)
    calls: int = 0

    @classmethod
    def of(cls, text: str) -> Trace:
        """Read what ``strace -f -y`` wrote of a command that root started."""
        trace = cls()
        for line in text.splitlines():
            call = _CALL.match(line) or _RESUMED.match(line)
            if call:
                trace._take(call["pid"], call["name"], call["arguments"])
        return trace

    def _take(self, pid: str, name: str, arguments: str) -> None:
        self.calls += 1
        if pid not in self.euids:
            self.euids[pid] = max(self.forking.values(), default=0)
        euid = self.euids[pid]
        if name in _FORKS:
            child = _CHILD.search(arguments)
            if child:
                self.forking.pop(pid, None)
                self.euids.setdefault(child[1], euid)
            else:
                self.forking[pid] = euid
        elif name in _SETS_UID:
            values = re.findall(r"-?\d+", arguments.partition(")")[0])
            # What is begun here succeeds or ends the process: who drops cannot go on as root.
            if len(values) > _SETS_UID[name] and not arguments.endswith(
                "(Operation not permitted)"
            ):
                effective = int(values[_SETS_UID[name]])
                self.euids[pid] = euid if effective == -1 else effective
        elif euid == 0 and name not in _ONLY_LOOKS and _touches(name, arguments):
            self.touched.append(f"{name}({arguments}")


def _touches(name: str, arguments: str) -> bool:
    if _KNOWN.search(arguments):
        return True
    if name == "execve":
        return bool(_GIVEN.match(arguments))
    return name not in _DATA and bool(_GIVEN.search(arguments))


def traced(system: Attacked, command: str) -> tuple[int, Trace]:
    """Run a command of root's under strace; returns its exit status and what it did."""
    system.machine.write_file("/root/command.sh", f"{command}\n")
    done = system.machine.run(
        "timeout --signal=KILL "
        f"{LIMIT_S} strace -f -y -s 256 -o /root/trace "
        "-e trace=%file,%desc,%process,setuid,setreuid,setresuid /bin/sh /root/command.sh",
        check=False,
        timeout=LIMIT_S + 60,
    )
    return done.returncode, Trace.of(system.machine.read_file("/root/trace"))


def test_the_trace_tells_who_did_what(system: Attacked) -> None:
    """What the other tests rely on: root is seen, and who has dropped to another user is not."""
    status, trace = traced(system, f"touch {HISTORY}/x")
    assert status == 0
    assert any("history/x" in call for call in trace.touched)
    drop = f"setpriv --reuid {USER} --clear-groups sh -c 'echo >{HISTORY}/y'"
    status, trace = traced(system, drop)
    assert status == 0
    assert trace.calls > 10
    assert trace.touched == []


FINGERPRINT = f"""
find / -xdev \\( -path /proc -o -path /sys -o -path /opt -o -path /var/log -o -path /var/cache \\
    -o -path {HISTORY} -o -path {SUPERVISOR} \\) -prune -o -user {USER} -print
ls -l /etc/nologin /etc/ld.so.preload /tmp/evil 2>/dev/null
cat /etc/shadow /etc/passwd /root/.bashrc | sha256sum
ls -laR /etc/cron* 2>/dev/null | grep -v '^total' | sha256sum
"""


def check(system: Attacked, command: str, before: str) -> None:
    status, trace = traced(system, command)
    assert status in {int(code) for code in ExitCode}, (command, status)
    assert trace.calls > 100
    assert trace.touched == [], command
    assert system.root(FINGERPRINT).stdout == before, command


@pytest.mark.parametrize("left", sorted(LEFT))
def test_root_is_not_led_by_what_was_left_there(
    system: Attacked, left: str, rng: random.Random
) -> None:
    before = system.root(FINGERPRINT).stdout
    for _ in range(rounds(1, 5)):
        done = system.run(LEFT[left](rng), timeout=120)
        assert done.returncode == 0, done.stderr
        names = sorted(COMMANDS)
        for name in rng.sample(names, rounds(8, len(names))):
            check(system, COMMANDS[name], before)


@pytest.mark.parametrize("program", [HOLD_LOCKS, SWAP], ids=["held", "swapped"])
def test_root_is_not_led_by_what_goes_on_there(
    system: Attacked, program: str, rng: random.Random
) -> None:
    before = system.root(FINGERPRINT).stdout
    system.machine.write_file("/tmp/attack.py", program)
    attack = system.machine.popen(["python3", "/tmp/attack.py"], user=USER)
    system.machine.wait_for(f"pgrep -u {USER} python3")
    names = sorted(COMMANDS)
    for name in rng.sample(names, rounds(8, len(names))):
        check(system, COMMANDS[name], before)
    system.root(f"pkill -KILL -u {USER} python3")
    attack.communicate()


def test_a_held_lock_does_not_hold_up_who_adds_a_job(system: Attacked) -> None:
    """It may read the definitions, and so lock them."""
    system.machine.write_file("/tmp/attack.py", HOLD_LOCKS)
    attack = system.machine.popen(["python3", "/tmp/attack.py"], user=USER)
    assert attack.stdout is not None
    assert int(attack.stdout.readline()) > 0
    for command in (COMMANDS["add"], COMMANDS["remove"], COMMANDS["disable"], COMMANDS["sync"]):
        done = system.machine.run(f"timeout {LIMIT_S} {command}", check=False, timeout=LIMIT_S + 30)
        assert done.returncode == 0, (command, done.stderr)
    system.root(f"pkill -KILL -u {USER} python3")
    attack.communicate()


# What it can write at all


def writable(found: str) -> set[str]:
    """Return the tops of what `find -writable` found that a user has for its own."""
    everybodys = ("/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/run/lock", "/run/systemd/journal",
        "/var/cache/lunasched-pyc", "/run/dbus/system_bus_socket", "/run/systemd/notify",
        "/run/systemd/io.system", "/run/systemd/userdb", "/run/udev/", "/run/user/",
        "/run/lunasched-start.socket", "/run/host", "/run/systemd/resolve")  # fmt: skip
    return {
        line
        for line in found.splitlines()
        if not line.startswith(everybodys) and not line.startswith((HISTORY, SUPERVISOR))
    }


WRITABLE = (
    "find / -writable -not -type l -not -path '/proc/*' -not -path '/sys/*' 2>/dev/null; true"
)


def test_the_supervisor_writes_its_two_directories_and_nothing_else(system: Attacked) -> None:
    assert writable(system.run(WRITABLE, timeout=120).stdout) == set()
    program = f"""
import os, signal, socket, subprocess
done = subprocess.run(["/bin/sh", "-c", {WRITABLE!r}], capture_output=True, text=True)
with open("{HISTORY}/writable", "w") as file:
    file.write(done.stdout)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
notify.send(b"READY=1")
signal.pause()
"""
    with system.take_over(program):
        found = system.root(f"cat {HISTORY}/writable").stdout
    assert {HISTORY, SUPERVISOR} <= set(found.splitlines())
    assert writable(found) == set()


def test_the_layout_is_what_the_manual_says(system: Attacked) -> None:
    shown = system.root(
        "stat -c '%n %U:%G %a' /var/lib/lunasched /var/lib/lunasched/jobs.db "
        f"/var/lib/lunasched/slots {HISTORY} /run/lunasched /run/lunasched/by-hand {SUPERVISOR}"
    ).stdout
    assert shown.splitlines() == [
        "/var/lib/lunasched root:root 755",
        "/var/lib/lunasched/jobs.db root:lunasched 640",
        "/var/lib/lunasched/slots root:root 755",
        f"{HISTORY} lunasched:lunasched 700",
        "/run/lunasched root:root 755",
        "/run/lunasched/by-hand root:root 755",
        f"{SUPERVISOR} lunasched:lunasched 755",
    ]
