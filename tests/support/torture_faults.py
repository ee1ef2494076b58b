"""What `make torture` does to a machine: one class a fault, drawn and carried out by a seed."""

from __future__ import annotations

import random
import shlex
import subprocess
import time
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from installed import INSTALL, REMOVE
from torture_jobs import DATABASES, JOBS, RUNTIME, USER, USER_ID
from vm import VirtualMachine

if TYPE_CHECKING:
    from anymachine import AnyMachine

SUPERVISOR = "lunasched.service"
_START = f"systemctl start --no-block {SUPERVISOR}"
_MAIN_PID = f"$(systemctl show -P MainPID {SUPERVISOR})"
_LIMITS = "/run/systemd/system.control"


class Fault:
    """Something that happens to a machine, and its end."""

    name: ClassVar[str]
    """What it is called in the output, and by which TORTURE_FAULTS chooses it."""
    begin: ClassVar[str] = ""
    """A shell command that begins it."""
    end: ClassVar[str] = ""
    """One that puts the machine right again, as its administrator would."""

    def __init__(self, rng: random.Random) -> None:
        """Draw all that is random of it, so that a seed repeats it."""

    def strike(self, machine: AnyMachine) -> None:
        """Begin; returns at once or when it is over."""
        self._do(machine, self.begin)

    def heal(self, machine: AnyMachine) -> None:
        """End it."""
        self._do(machine, self.end)

    def lies(self) -> list[str]:
        """Return the false statements that were made to it, a sentence each."""
        return []

    def cuts(self) -> list[int]:
        """When it cut the power, by the machine's clock, in microseconds since the epoch."""
        return []

    def _do(self, machine: AnyMachine, command: str) -> None:
        if command:
            machine.exec(command.format(**vars(self)), check=False, timeout=120)

    def __str__(self) -> str:
        drawn = (f"{key}={value}" for key, value in vars(self).items() if key[0] != "_")
        return " ".join([self.name, *drawn])


class KilledSupervisor(Fault):
    """SIGKILL, and again soon after it was started again."""

    name = "supervisor-killed"

    def __init__(self, rng: random.Random) -> None:
        self.pauses = [round(rng.uniform(0.02, 2), 2) for _ in range(rng.randint(1, 4))]

    def strike(self, machine: AnyMachine) -> None:
        for pause in self.pauses:
            machine.exec(f"systemctl kill -s KILL {SUPERVISOR}; {_START}", check=False)
            time.sleep(pause)


class SupervisorKilledAtCall(Fault):
    """SIGKILL at a system call, so in the middle of any line."""

    name = "supervisor-killed-at-a-call"
    CALLS = (
        *("pwrite64", "pread64", "fdatasync", "fcntl", "openat", "close", "read", "write"),
        *("sendmsg", "recvmsg", "poll", "newfstatat", "unlink", "socket", "connect", "mmap"),
    )

    def __init__(self, rng: random.Random) -> None:
        self.call = rng.choice(self.CALLS)
        self.number = rng.choice((1, 2, 3, rng.randint(1, 12), rng.randint(1, 80)))

    begin = (
        "timeout 8 strace -f -qq -o /dev/null -e trace={call}"
        " -e inject={call}:signal=KILL:when={number} -p " + _MAIN_PID
    )
    end = _START


class CommandKilledAtCall(Fault):
    """SIGKILL of a command that changes jobs, at a system call of it."""

    name = "command-killed-at-a-call"
    CALLS = (
        *("openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "sendmsg"),
        *("recvmsg", "fcntl", "close", "symlink", "connect"),
    )

    def __init__(self, rng: random.Random) -> None:
        self.call = rng.choice(self.CALLS)
        few = self.call in ("rename", "unlink", "fsync", "fdatasync", "symlink", "connect")
        self.number = rng.randint(1, 6) if few else rng.randint(1, 300)
        self.minute = rng.randint(0, 59)
        self.removes = rng.random() < 0.3
        self._lies: list[str] = []

    def strike(self, machine: AnyMachine) -> None:
        add = ["add", "--name", "scratch", "--schedule", f"at 03:{self.minute:02}", "--replace"]
        command = ["remove", "scratch"] if self.removes else [*add, "--command", "true"]
        inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={self.call}"]
        inject += ["-e", f"inject={self.call}:signal=KILL:when={self.number}"]
        done = machine.exec([*inject, "lunasched", *command], check=False, timeout=120)
        shown = machine.exec(["lunasched", "get", "scratch"], check=False)
        if done.returncode == 0 and (shown.returncode == 3) != self.removes:
            self._lies.append(f"{command} ended with 0, and get with {shown.returncode}")

    def lies(self) -> list[str]:
        return self._lies


class KilledHelpers(Fault):
    """SIGKILL, for two seconds, of each unit that does a part of the work."""

    name = "helpers-killed"
    begin = (
        "systemctl start --no-block lunasched-sync.service; for turn in $(seq 20); do"
        " systemctl kill -s KILL 'lunasched-start@*' 'lunasched-history@*' lunasched-sync.service"
        " 'lunasched-hook@*' 'lunasched-launch@*' 2>/dev/null; sleep 0.1; done"
    )


class KilledGuards(Fault):
    """SIGKILL, for two seconds, of each guard of a slot."""

    name = "guards-killed"
    begin = "for turn in $(seq 20); do pkill -KILL -f /slot-guard; sleep 0.1; done"


class RestartedBus(Fault):
    """D-Bus is restarted, as no administrator should."""

    name = "bus-restarted"
    begin = "systemctl restart dbus.service"


class ExecutedManager(Fault):
    """PID 1 executes itself anew, as at its own upgrade."""

    name = "manager-reexecuted"
    begin = "systemctl daemon-reexec"


class Reloads(Fault):
    """PID 1 reads its units again and again, as when packages are installed."""

    name = "reload-storm"
    begin = "for turn in $(seq {times}); do systemctl daemon-reload; done"

    def __init__(self, rng: random.Random) -> None:
        self.times = rng.randint(3, 12)


class RestartedJournald(Fault):
    """journald is restarted in order."""

    name = "journald-restarted"
    begin = "systemctl restart systemd-journald.service"


class KilledJournald(Fault):
    """journald is killed; the manager starts it again."""

    name = "journald-killed"
    begin = "systemctl kill -s KILL systemd-journald.service"


class StoppedJournald(Fault):
    """journald stands still for some seconds, as when its disk is busy."""

    name = "journald-stopped"
    begin = "systemctl kill -s STOP systemd-journald.service; sleep {seconds}"
    end = "systemctl kill -s CONT systemd-journald.service"

    def __init__(self, rng: random.Random) -> None:
        self.seconds = rng.randint(1, 6)


class RotatedJournal(Fault):
    """The journal's files are closed and new ones begun, while runs are in progress."""

    name = "journal-rotated"
    begin = "for turn in $(seq {times}); do journalctl --rotate; done"

    def __init__(self, rng: random.Random) -> None:
        self.times = rng.randint(1, 3)


class VacuumedJournal(Fault):
    """All files of the journal but the newest are deleted, while runs are in progress."""

    name = "journal-vacuumed"
    begin = "journalctl --sync; journalctl --rotate; sleep 3; journalctl --vacuum-files=1"


class CorruptedJournal(Fault):
    """A block of the journal's file is overwritten: of what was read, as disks fail."""

    name = "journal-corrupted"
    begin = (
        "file=$(ls /var/log/journal/*/system.journal); journalctl --sync; sleep 3;"
        " dd if=/dev/urandom of=$file bs=4096 count={blocks} conv=notrunc status=none"
        " seek=$(($(stat -c %s $file) * {permille} / 4096000))"
    )

    def __init__(self, rng: random.Random) -> None:
        self.blocks = rng.randint(1, 4)
        self.permille = rng.randint(10, 200)


class FullDisk(Fault):
    """The disk of the databases is full."""

    name = "disk-full"
    begin = f"dd if=/dev/zero of={DATABASES}/fill bs=16k status=none"
    end = f"rm -f {DATABASES}/fill"


class NoInodes(Fault):
    """The disk of the databases has no inode left."""

    name = "no-inodes"
    begin = f"mount -o remount,nr_inodes=$(df --output=iused {DATABASES} | tail -1) {DATABASES}"
    end = f"mount -o remount,nr_inodes=100000 {DATABASES}"


class ReadOnlyDisk(Fault):
    """The disk of the databases was made read-only, as after an error."""

    name = "disk-read-only"
    begin = f"systemctl stop {SUPERVISOR}; mount -o remount,ro {DATABASES}; {_START}"
    end = f"mount -o remount,rw {DATABASES}; {_START}"


class FullRuntime(Fault):
    """The place of runtime files is full."""

    name = "run-full"
    begin = f"dd if=/dev/zero of={RUNTIME}/fill bs=4k status=none"
    end = f"rm -f {RUNTIME}/fill"


class _Limited(Fault):
    """A limit of a unit, and its end."""

    end = f"rm -rf {_LIMITS}/lunasched.*; systemctl daemon-reload; {_START}"


class NoForksForJobs(_Limited):
    """A job's processes cannot fork."""

    name = "no-forks-for-jobs"
    begin = "systemctl set-property --runtime lunasched.slice TasksMax=1"


class NoForksForSupervisor(_Limited):
    """The supervisor can start neither processes nor threads."""

    name = "no-forks-for-supervisor"
    begin = f"systemctl set-property --runtime {SUPERVISOR} TasksMax=1"


class OutOfMemory(_Limited):
    """The supervisor is killed for lack of memory, as often as it is started again."""

    name = "supervisor-out-of-memory"
    begin = (
        f"systemctl set-property --runtime {SUPERVISOR} MemoryMax={{megabytes}}M;"
        f" systemctl restart --no-block {SUPERVISOR}"
    )

    def __init__(self, rng: random.Random) -> None:
        self.megabytes = rng.randint(4, 40)


class FewDescriptors(Fault):
    """The supervisor can open hardly a file more."""

    name = "few-descriptors"
    begin = (
        f"pid={_MAIN_PID}; prlimit --pid $pid"
        " --nofile=$(($(ls /proc/$pid/fd | wc -l) + {spare})):524288"
    )
    end = f"prlimit --pid {_MAIN_PID} --nofile=524288:524288"

    def __init__(self, rng: random.Random) -> None:
        self.spare = rng.randint(0, 4)


class DeletedUser(Fault):
    """The user that a job runs as is deleted."""

    name = "user-deleted"
    begin = f"userdel --force {USER}"
    end = f"useradd --uid {USER_ID} --no-create-home {USER}"


class RenamedUser(Fault):
    """The user that a job runs as gets another name."""

    name = "user-renamed"
    begin = f"usermod --login renamed {USER}"
    end = f"usermod --login {USER} renamed"


class HostileName(Fault):
    """A job with a name that somebody thought of is added, started and removed."""

    name = "hostile-name"
    LETTERS = "a'\"\\$%`;&|<>()[]{}*?!#~^@:=, é€\u202e-_.+/"

    def __init__(self, rng: random.Random) -> None:
        self.called = "".join(rng.choice(self.LETTERS) for _ in range(rng.randint(1, 24)))
        self._lies: list[str] = []

    def strike(self, machine: AnyMachine) -> None:
        def lunasched(*arguments: str) -> subprocess.CompletedProcess[str]:
            done = machine.exec(["lunasched", *arguments], check=False, timeout=120)
            if "Traceback" in done.stderr or "unexpected error" in done.stderr:
                self._lies.append(f"lunasched {arguments} said {done.stderr}")
            return done

        name = f"--name={self.called}"
        proves = shlex.join(["/usr/local/bin/prove", self.called, "0", "0"])
        added = lunasched("add", name, "--schedule", "@yearly", "--command", proves)
        if added.returncode == 2:
            return
        done = lunasched("start", "--wait", "--", self.called)
        shown = lunasched("history", "--json", "--all", "--", self.called)
        removed = lunasched("remove", "--", self.called)
        codes = [each.returncode for each in (added, done, shown, removed)]
        if codes == [0, 0, 0, 0] and '"success"' not in shown.stdout:
            self._lies.append(f"{self.called!r} ran, and its history is {shown.stdout!r}")

    def lies(self) -> list[str]:
        return self._lies


class Reinstalled(Fault):
    """lunasched is installed once more, as by an upgrade, while jobs run."""

    name = "reinstalled"
    begin = f"{INSTALL} systemctl restart {SUPERVISOR}"


class Removed(Fault):
    """What a package's removal stops is stopped, while jobs run, and it is installed again."""

    name = "removed"
    begin = REMOVE
    end = INSTALL


_OLDER = """\
import sqlite3
history = sqlite3.connect("/var/lib/lunasched/history/history.db")
history.executescript('''
    BEGIN;
    DROP TRIGGER notification_settled;
    DROP INDEX sent_notifications_of_channel;
    ALTER TABLE notification_totals RENAME COLUMN notifications TO messages;
    ALTER TABLE notification_totals RENAME TO message_totals;
    ALTER TABLE sent_notifications RENAME TO sent_messages;
    CREATE INDEX sent_messages_of_channel ON sent_messages (counter, sent_at);
    CREATE TRIGGER message_settled AFTER UPDATE OF settled_at ON outbox
    WHEN OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL BEGIN SELECT 1; END;
    PRAGMA user_version = 10;
    COMMIT;
''')
"""
"""Makes the history one of the version before, which the supervisor brings up to date."""


class PowerCut(Fault):
    """The power fails, amid a change or none, and what was not synced is gone.

    Its disk keeps what the kernel has written.
    """

    name = "power-cut"
    DURING: ClassVar[dict[str, str]] = {
        "nothing": "true",
        "add": "lunasched add --name scratch --schedule 'at 03:00' --command true --replace",
        "remove": "lunasched remove scratch",
        "apply": f"lunasched apply {JOBS}",
        "vacuum": "lunasched vacuum",
        "upgrade": f"{INSTALL} systemctl restart lunasched.service",
        "migration": "systemctl stop lunasched.service; python3 /root/older.py;"
        " systemctl start lunasched.service",
    }
    """What is done meanwhile, as a shell does it."""

    def __init__(self, rng: random.Random) -> None:
        self.during = rng.choice(list(self.DURING))
        self.after = round(rng.uniform(0, 6), 2)
        self.down = rng.choice((0, 0, rng.randint(1, 200)))
        self._cuts: list[int] = []

    def strike(self, machine: AnyMachine) -> None:
        assert isinstance(machine, VirtualMachine), "only a virtual machine has a power switch"
        machine.write_file("/root/older.py", _OLDER)
        command = self.DURING[self.during]
        machine.exec(["systemd-run", "--quiet", "--collect", "--no-block", "sh", "-c", command])
        time.sleep(self.after)
        self._cuts.append(int(machine.now().timestamp() * 1_000_000))
        machine.power_cut(timedelta(seconds=self.down))

    def cuts(self) -> list[int]:
        return self._cuts


class SteppedClock(Fault):
    """The clock is set, forwards or back, as by somebody who finds it wrong."""

    name = "clock-stepped"

    def __init__(self, rng: random.Random) -> None:
        self.seconds = rng.choice((-1, 1)) * rng.choice((1, rng.randint(2, 59), 60, 150))

    def strike(self, machine: AnyMachine) -> None:
        assert isinstance(machine, VirtualMachine), "a container shares the host's clock"
        machine.step_clock(timedelta(seconds=self.seconds))


class SlowDisk(_Limited):
    """The disk does few operations a second, for lunasched and for its jobs."""

    name = "disk-slow"
    begin = "".join(
        f"systemctl set-property --runtime {unit}"
        " IOReadIOPSMax='/dev/vda {operations}' IOWriteIOPSMax='/dev/vda {operations}';"
        for unit in (SUPERVISOR, "lunasched.slice")
    )

    def __init__(self, rng: random.Random) -> None:
        self.operations = rng.randint(2, 30)


VIRTUAL: tuple[type[Fault], ...] = (PowerCut, SteppedClock, SlowDisk)
"""Those that need a virtual machine."""
FAULTS: tuple[type[Fault], ...] = (
    KilledSupervisor,
    SupervisorKilledAtCall,
    SupervisorKilledAtCall,
    CommandKilledAtCall,
    CommandKilledAtCall,
    KilledHelpers,
    KilledGuards,
    RestartedBus,
    ExecutedManager,
    Reloads,
    RestartedJournald,
    KilledJournald,
    StoppedJournald,
    RotatedJournal,
    VacuumedJournal,
    CorruptedJournal,
    FullDisk,
    NoInodes,
    ReadOnlyDisk,
    FullRuntime,
    NoForksForJobs,
    NoForksForSupervisor,
    OutOfMemory,
    FewDescriptors,
    DeletedUser,
    RenamedUser,
    HostileName,
    Reinstalled,
    Removed,
)
"""All of them; what is here twice is drawn twice as often."""
